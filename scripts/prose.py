#!/usr/bin/env python3
"""Count turns of phrase that make prose hard to read, per 10,000 words of docstrings, of messages and of pages.

    python scripts/prose.py
    python scripts/prose.py --list says docs/runs.md

``--list`` prints the lines that hold one pattern, of all files or of those that are named.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("core", "plugins", "datasets")
EXAMPLES = (("examples", "*.py"), ("core/omnimask/scaffold", "*.py.template"))
"""Folders and patterns of the example packages, and of the templates of new plugins."""
LEFT_OUT = ("docs/reference", "docs/decisions")
"""Generated pages, and records that stay as they were written."""

PATTERNS: Mapping[str, re.Pattern[str]] = {
    "what": re.compile(r"(?:^|[.,:;!?(]\s+|\n\s*\n\s*|[-*]\s|\b(?:and|or|but)\s)what\b", re.IGNORECASE),
    "starts": re.compile(r"(?:^|[.:;!?]\s+|\n\s*\n\s*|[-*]\s)(?:What|Where|Who|That)\b"),
    "says": re.compile(r"\bsays?\b", re.IGNORECASE),
    "is no": re.compile(r"\b(?:is|are) no\b", re.IGNORECASE),
    "that": re.compile(r"\bthat\b", re.IGNORECASE),
}
"""Patterns by name: clauses that begin with ``what``, sentences with What, Where, Who or That, things that say, ``is no X``."""


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield first line and text of every docstring, those of attributes included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield first line and text of every message: of a raised exception or ``UserError``, of ``description=`` and ``help=``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _strings(node.exc.args)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
            yield from _strings(node.args)
        elif isinstance(node, ast.keyword) and node.arg in ("description", "help"):
            yield from _strings([node.value])


def _strings(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the string constants below some nodes, those of f-strings with a gap for each value."""
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            yield from _strings(list(ast.iter_child_nodes(node)))


def page(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a Markdown page outside of fenced blocks, with their numbers."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


def plain(text: str) -> str:
    """Remove code spans, links' targets and emphasis."""
    text = re.sub(r"``.*?``|`[^`]*`", "", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", text).replace("*", "")


def examples(root: Path = ROOT) -> list[Path]:
    """Return the modules of the example packages, and the templates of modules that parse without their placeholders' values."""
    found = [path for folder, pattern in EXAMPLES for path in sorted((root / folder).rglob(pattern))]
    return [path for path in found if _is_parsable(path)]


def _is_parsable(path: Path) -> bool:
    try:
        ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return False
    return True


def sources(root: Path = ROOT) -> dict[str, list[Path]]:
    """Return the files of each kind: ``docstrings``, ``messages``, ``examples`` and ``pages``."""
    code = [path for folder in CODE for path in sorted((root / folder).rglob("*.py"))]
    pages = [path for path in sorted((root / "docs").rglob("*.md")) if not _is_left_out(path, root)]
    return {"docstrings": code, "messages": code, "examples": examples(root), "pages": [root / "README.md", *pages]}


def _is_left_out(path: Path, root: Path) -> bool:
    return path.relative_to(root).as_posix().startswith(LEFT_OUT)


def texts(path: Path, kind: str = "docstrings") -> Iterator[tuple[int, str]]:
    """Yield line numbers and plain texts of a file; ``kind`` chooses between a module's docstrings and messages."""
    reader = page if ".py" not in path.suffixes else messages if kind == "messages" else docstrings
    found = {(number, plain(text)): None for number, text in reader(path)}
    yield from found


def rates(paths: Sequence[Path], kind: str = "docstrings") -> dict[str, float]:
    """Return how often each pattern occurs per 10,000 words, and the number of words as ``words``."""
    between = "\n\n" if kind == "messages" else "\n"
    found = [between.join(text for _, text in texts(path, kind)) for path in paths]
    words = sum(len(text.split()) for text in found)
    counts = {name: sum(len(pattern.findall(text)) for text in found) for name, pattern in PATTERNS.items()}
    return {"words": float(words), **{name: 1e4 * count / max(1, words) for name, count in counts.items()}}


def lines(paths: Sequence[Path], name: str, kind: str = "docstrings") -> Iterator[str]:
    """Yield ``file:line: text`` of every line that holds a pattern."""
    for path in paths:
        for first, text in texts(path, kind):
            for offset, line in enumerate(text.splitlines()):
                if PATTERNS[name].search(line):
                    yield f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{first + offset}: {line.strip()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="instead of the whole project")
    parser.add_argument("--list", choices=sorted(PATTERNS), help="print the lines that hold this pattern")
    options = parser.parse_args(arguments)
    files = [path.resolve() for path in options.files]
    kinds = {"files": files, "messages": [path for path in files if path.suffix == ".py"]} if files else sources()
    if options.list is not None:
        for kind, paths in kinds.items():
            for found in lines(paths, options.list, kind):
                print(found)
        return 0
    print(f"{'per 10,000 words':20}" + "".join(f"{name:>10}" for name in PATTERNS) + f"{'words':>10}")
    for kind, paths in kinds.items():
        found = rates(paths, kind)
        print(f"{kind:20}" + "".join(f"{found[name]:10.1f}" for name in PATTERNS) + f"{found['words']:10,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
