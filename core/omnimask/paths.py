"""Relative paths in a recipe go by the folder of the file that they are written in, those of the command line by the working
directory. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, ValidationInfo

FOLDER = "folder"
"""Key of the validation context: what relative paths go by; None: the working directory."""


def anchored(path: Path, folder: Path | None) -> Path:
    """A path that means the same from every folder.

    Args:
        path: as written; ``~`` is the home folder.
        folder: of the recipe's file, absolute; None: the working directory.

    Raises:
        ValueError: the recipe's folder holds nothing of that name, and the working directory does; or ``~name`` is nobody's.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: nobody of this name has a home folder here") from error
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
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _local_or_name(text: str, info: ValidationInfo) -> str:
    context = info.context
    path = anchored(Path(text), context.get(FOLDER) if isinstance(context, dict) else None)
    return str(path) if _exists(path) else text


LocalOrName: TypeAlias = Annotated[str, AfterValidator(_local_or_name)]
"""An option that is a path, absolute once it is validated, where something lies there; else a name, of a hub's model say, as it is
written."""
