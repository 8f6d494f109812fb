"""Image files in a folder or in a zip file."""

from __future__ import annotations

from typing import ClassVar

from omnimask_datasets.archive import ZipArchive
from omnimask_datasets.folder import FileFolder
from omnimask_image.decode.pillow_decoder import PillowDecoder


class ImageFolder(FileFolder):
    """The image files of a folder and its sub-folders; ``label`` is the name of the first sub-folder, if there is one.

    Args:
        path: the folder.
        follow_links: whether to follow links to folders outside of it. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = PillowDecoder.extensions
    field: ClassVar[str] = "image"


class ImageZip(ZipArchive):
    """The image files in a zip file, read in place; ``label`` comes from its table of labels, or is the first folder's name.

    Args:
        path: the zip file.
        url: instead of a path, a URL for ``fsspec`` (``https://host/photos.zip``). The file is copied into a cache.
        cache: location and size of the copies, timeouts and retries.
        labels: name of the member that is a CSV table in UTF-8 with the columns ``file`` (or ``key``) and ``label``. None:
            ``labels.csv`` if the archive has it, else folders are the labels.
    """

    extensions: ClassVar[tuple[str, ...]] = PillowDecoder.extensions
    field: ClassVar[str] = "image"
