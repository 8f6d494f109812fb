"""Relative paths: those in a recipe are relative to the recipe's folder, those on the command line to the working directory.

Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, ValidationInfo

FOLDER = "folder"
"""Key of the validation context: base folder of relative paths; None: the working directory."""


def anchored(path: Path, folder: Path | None) -> Path:
    """Return the absolute path.

    Args:
        path: as written; ``~`` is the home folder.
        folder: of the recipe's file, absolute; None: the working directory.

    Raises:
        ValueError: the path exists relative to the working directory but not to the recipe's folder, or ``~name`` is unknown.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: this user has no home folder here") from error
    here = path.absolute()
    if folder is None or path.is_absolute() or (there := folder / path) == here:
        return here
    if _exists(here) and not _exists(there):
        raise ValueError(
            f"{path} in a recipe is {there}, beside the recipe's file, which does not exist; write {here}, which does, or give the "
            "path on the command line, where it goes by the working directory"
        )
    return there


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name is too long, or a folder is not accessible
        return False


def _local_or_name(text: str, info: ValidationInfo) -> str:
    context = info.context
    path = anchored(Path(text), context.get(FOLDER) if isinstance(context, dict) else None)
    return str(path) if _exists(path) else text


LocalOrName: TypeAlias = Annotated[str, AfterValidator(_local_or_name)]
"""An option that is a path or a name (of a hub's model, for example). An existing path becomes absolute on validation; a name is
kept as written."""
