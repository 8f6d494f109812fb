"""Image files in a folder."""

from __future__ import annotations

from typing import ClassVar

from omnimask_datasets.folder import FileFolder


class ImageFolder(FileFolder):
    """The image files of a folder and its sub-folders; ``label`` is the name of the first sub-folder, where there is one.

    Args:
        path: the folder.
    """

    extensions: ClassVar[tuple[str, ...]] = (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"
    )  # fmt: skip
    field: ClassVar[str] = "image"
