"""Labels of files from their folders. Folders named like the sides of a split are recognized."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger(f"omnimask.{__name__}")

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Names of folders, in lower case, that divide the data instead of classifying it."""


class FolderLabels:
    """Label of a file by its name: its first folder, or the second if all first folders are splits.

    Args:
        names: relative paths of all samples, with forward slashes.
        place: name of the data in the log.
    """

    def __init__(self, names: Iterable[str], place: object) -> None:
        first = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
        known = [folder for folder in first if folder.lower() in SPLITS]
        self.splits: tuple[str, ...] = tuple(known) if known and len(known) == len(first) else ()
        """First folders, if all of them are splits."""
        if self.splits:
            logger.info(
                "%s: the folders %s are splits; labels are the folders below. All splits are read: give the path "
                "of one to use it alone",
                place,
                ", ".join(self.splits),
            )
        elif len(known) > 1:
            others = next(folder for folder in first if folder not in known)
            logger.warning(
                "%s: the folders %s look like splits, but are read as labels because of other folders, such as "
                "%s; move either elsewhere",
                place,
                ", ".join(known),
                others,
            )

    def __call__(self, name: str) -> str | None:
        """Return the label; None if the file has no such folder."""
        folders = name.split("/")[:-1]
        if self.splits:
            folders = folders[1:]
        return folders[0] if folders else None
