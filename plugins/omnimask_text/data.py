"""Text files."""

from __future__ import annotations

from typing import ClassVar

from omnimask_datasets.archive import ZipArchive
from omnimask_datasets.documents import DocumentFiles
from omnimask_text.tokenize.corpus import EXTENSIONS


class TextFiles(DocumentFiles):
    """Text files of a folder and its sub-folders, or one file; ``label`` is the name of the first sub-folder, where there is one.

    Files ending in ``.gz`` are unpacked.

    Args:
        path: a folder, or one file, whatever it ends in.
        documents: what a document is: a ``file``, or the lines between blank ones (``blank_line``), or every ``line`` that is not
            blank. Files that are divided must have lines: UTF-8, say, not UTF-16.
        follow_links: whether links to folders outside of a folder are followed. Links to files always are.
    """

    extensions: ClassVar[tuple[str, ...]] = EXTENSIONS
    field: ClassVar[str] = "text"


class TextZip(ZipArchive):
    """The text files in a zip file, read in place; ``label`` is what its table of labels says, or the first folder's name.

    Args:
        path: the zip file.
        labels: name of the member that is a CSV table in UTF-8 with the columns ``file`` (or ``key``) and ``label``. None:
            ``labels.csv`` where the archive has it, else folders are the labels.
    """

    extensions: ClassVar[tuple[str, ...]] = EXTENSIONS
    field: ClassVar[str] = "text"
