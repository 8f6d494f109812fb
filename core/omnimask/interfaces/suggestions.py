"""Suggesters: recipes for a user's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Suggestion:
    """A recipe for a user's folder.

    Attributes:
        modality: reads the files.
        num_files: number of files it reads.
        summary: observations about the data, by name.
        recipe: YAML with comments on each number.
        needs: further argument of a command that reads the recipe: ``data.path=FOLDER`` for a folder with a model and no data.
    """

    modality: str
    num_files: int
    summary: Mapping[str, str]
    recipe: str
    needs: str = ""


@runtime_checkable
class FindsData(Protocol):
    """Optional capability of a suggester: the modality of the files at a path, and the ``data`` section that reads them, without
    its path. None for unknown files.

    With it, a path alone (``data.path=FOLDER``) is enough for a recipe on embedded data.
    """

    def data(self, path: Path) -> tuple[str, Mapping[str, Any]] | None: ...


@runtime_checkable
class Suggester(Protocol):
    """Writer of a recipe for a user's folder or file. All constructor options have defaults."""

    def __call__(self, folder: Path) -> Suggestion | None:
        """Return a suggestion, or None if the folder, an absolute path, holds nothing of this modality.

        Raises:
            ValueError: it holds files of this modality, but none of the inspected ones can be read.
        """
        ...
