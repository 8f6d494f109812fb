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
        ValueError: the recipe's folder holds nothing of that name, and the working directory does.
    """
    path = path.expanduser()
    here = path.absolute()
    if folder is None or path.is_absolute() or (there := folder / path) == here:
        return here
    if here.exists() and not there.exists():
        raise ValueError(
            f"{path} in a recipe is {there}, beside the recipe's file, which does not exist; write {here}, which does, or give the "
            "path on the command line, where it goes by the working directory"
        )
    return there


def _local_or_name(text: str, info: ValidationInfo) -> str:
    context = info.context
    path = anchored(Path(text), context.get(FOLDER) if isinstance(context, dict) else None)
    return str(path) if path.exists() else text


LocalOrName: TypeAlias = Annotated[str, AfterValidator(_local_or_name)]
"""An option that is a path, absolute once it is validated, where something lies there; else a name, of a hub's model say, as it is
written."""
