"""Text files."""

from __future__ import annotations

from typing import ClassVar

from omnimask_datasets.archive import ZipArchive
from omnimask_datasets.documents import DocumentFiles
from omnimask_text.tokenize.corpus import EXTENSIONS


class TextFiles(DocumentFiles):
    """Text files of a folder and its sub-folders, or one file; ``label`` is the name of the first sub-folder, if there is one.

    Files ending in ``.gz`` are unpacked.

    Args:
        path: a folder, or one file with any ending.
        url: instead of a path, a URL for ``fsspec``: a file, a folder or a pattern (``s3://bucket/**/*.txt``). Files are copied
            into a cache on their first read.
        cache: location and size of the copies, timeouts and retries.
        documents: unit of a document: a ``file``, the lines between blank ones (``blank_line``), or every ``line`` that is not
            blank. Files to divide must have lines: UTF-8, for example, not UTF-16.
        follow_links: whether to follow links to folders outside of a folder. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = EXTENSIONS
    field: ClassVar[str] = "text"


class TextZip(ZipArchive):
    """The text files in a zip file, read in place; ``label`` comes from its table of labels, or is the first folder's name.

    Args:
        path: the zip file.
        url: instead of a path, a URL for ``fsspec`` (``https://host/texts.zip``). The file is copied into a cache.
        cache: location and size of the copies, timeouts and retries.
        labels: name of the member that is a CSV table in UTF-8 with the columns ``file`` (or ``key``) and ``label``. None:
            ``labels.csv`` if the archive has it, else folders are the labels.
    """

    extensions: ClassVar[tuple[str, ...]] = EXTENSIONS
    field: ClassVar[str] = "text"
