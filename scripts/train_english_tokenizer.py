"""Trains the English tokenizer that omnimask ships, on the documentation of the Python that runs this script.

``python scripts/train_english_tokenizer.py`` writes plugins/omnimask_text/english; its README says with which Python.
"""

from __future__ import annotations

import ast
import pydoc_data.topics
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from omnimask_text.tokenize.train import files, train

FOLDER = Path(__file__).resolve().parent.parent / "plugins" / "omnimask_text" / "english"
VOCABULARY = 8192
TYPOGRAPHY = "“”‘’–—…•·°§©£€×÷½→"
"""Characters of printed English that documentation in ASCII lacks."""
_LEFT_OUT = {"test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "ensurepip", "turtledemo", "pydoc_data"}
"""Folders of the standard library that are tests, copies or data."""


def corpus() -> Iterator[str]:
    """The language reference's topics, then every docstring of the standard library, without characters beyond ASCII."""
    for _, text in sorted(pydoc_data.topics.topics.items()):
        yield _ascii(text)
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not _LEFT_OUT & set(path.relative_to(root).parts):
            yield from map(_ascii, docstrings(path))


def docstrings(path: Path) -> Iterator[str]:
    """Those of a module, its classes and its functions; none of a file that does not parse."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode("ascii")


def main() -> None:
    """Writes the tokenizer's files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in files(train(corpus, "wordpiece", VOCABULARY, lowercase=True, characters=TYPOGRAPHY)).items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
