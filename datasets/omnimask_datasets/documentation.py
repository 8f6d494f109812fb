"""Extraction of prose from Python's own documentation: topics of ``help()`` and docstrings. No module is imported."""

from __future__ import annotations

import ast
import logging
import re
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

logger = logging.getLogger(f"omnimask.{__name__}")

Documents: TypeAlias = dict[str, str]
"""Texts by key, in a fixed order."""

_TOPICS = "pydoc_data/topics.py"
_LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
"""Folders of tests, or of packages outside the standard library."""
_IS_CODE = re.compile(r"^\s*>>>|::=", re.MULTILINE)
"""Interactive examples and grammar rules."""


def library() -> Path:
    """Return the folder or zip file of this Python's standard library.

    Raises:
        ValueError: neither exists.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    if folder.is_dir() and any(folder.glob("*.py")):
        return folder
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    for entry in sys.path:
        if Path(entry).name == archive and zipfile.is_zipfile(entry):
            return Path(entry)
    raise ValueError(f"no standard library in {folder} or {archive}; {_REMEDY}")


def collect(source: Path) -> Documents:
    """Return one document for every topic and module of the library at ``source`` that contains prose.

    Paragraphs of earlier documents are not repeated.

    Raises:
        ValueError: the library has no sources, as in builds with compiled files only.
    """
    documents: Documents = {}
    seen: set[str] = set()
    files = sorted(name for name in _names(source) if _is_source(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (SyntaxWarning, DeprecationWarning))
        for key, pieces in [*_topics(source, files), *((f"modules/{name}", _docstrings(source, name)) for name in files)]:
            if paragraphs := [paragraph for piece in pieces for paragraph in _new_paragraphs(piece, seen)]:
                documents[key] = "\n\n".join(paragraphs)
    if not documents:
        raise ValueError(f"the standard library in {source} has no sources; {_REMEDY}")
    return documents


def _names(source: Path) -> Iterator[str]:
    if source.is_dir():
        return (path.relative_to(source).as_posix() for path in source.rglob("*.py"))
    with zipfile.ZipFile(source) as archive:
        return iter(archive.namelist())


def _is_source(name: str) -> bool:
    return name.endswith(".py") and not _LEFT_OUT & set(PurePosixPath(name).parts)


def _tree(source: Path, name: str) -> ast.Module | None:
    """Return a module's syntax tree. Return None, and log it, if the module cannot be read or parsed."""
    try:
        if source.is_dir():
            return ast.parse((source / name).read_bytes())
        with zipfile.ZipFile(source) as archive:
            return ast.parse(archive.read(name))
    except (OSError, SyntaxError, ValueError, zipfile.BadZipFile) as error:
        logger.debug("skipping %s of the standard library: %s", name, error)
        return None


def _topics(source: Path, files: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the topics' names and texts, from the module's literal mapping."""
    tree = _tree(source, _TOPICS) if _TOPICS in files else None
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Dict):
            for name, text in sorted(ast.literal_eval(node).items()):
                yield f"topics/{name}", [text]


def _docstrings(source: Path, name: str) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions, in file order."""
    tree = _tree(source, name)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)] if tree else []
    for node in sorted(found, key=lambda node: getattr(node, "lineno", 0)):
        yield ast.get_docstring(node) or ""


def _new_paragraphs(text: str, seen: set[str]) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        words = " ".join(paragraph.split())
        if words and words not in seen and not _IS_CODE.search(paragraph):
            seen.add(words)
            yield paragraph.rstrip()


_REMEDY = "the data set english needs it; install Python with its sources"
