"""Suggesters: recipes for the data that a user has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Suggestion:
    """A recipe for a user's folder: ``num_files`` of it are read by ``modality``, ``summary`` says by name what was seen, and
    ``recipe`` is YAML with comments that say why each number was chosen. ``needs`` is what a command that reads the recipe must
    give beside it, ``data.path=FOLDER`` for a folder with a model and no data."""

    modality: str
    num_files: int
    summary: Mapping[str, str]
    recipe: str
    needs: str = ""


@runtime_checkable
class FindsData(Protocol):
    """What a suggester may offer: the modality of the files at a path, and the ``data`` section that reads them, without its path;
    None where it knows none of them. So a path alone (``data.path=FOLDER``) is enough for a recipe on embedded data."""

    def data(self, path: Path) -> tuple[str, Mapping[str, Any]] | None: ...


@runtime_checkable
class Suggester(Protocol):
    """Looks at a user's folder, or a single file, and writes a recipe for it; all its constructor's options have defaults."""

    def __call__(self, folder: Path) -> Suggestion | None:
        """None if the folder, an absolute path, holds nothing of this modality.

        Raises:
            ValueError: it holds files of this modality, and none of those looked at can be read.
        """
        ...
