"""Emoji shipped with omnimask: color pictures with groups and names, without a download."""

from __future__ import annotations

import csv
import io
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from omnimask.interfaces import Context
from omnimask_datasets.archive import LABELS, ZipArchive

FILE = Path(__file__).parents[1] / "emoji" / "emoji.zip"


class Emoji(ZipArchive):
    """1330 color pictures of 64 x 64 pixels from Noto Emoji [0], with the group as label and the name as text.

    Returns ``image``, a WebP file with transparency, which the decoder composites on white; ``label``, one of Unicode's nine groups
    (``Animals & Nature``); and ``text``, the name (``fox``). Many people differ by gender alone, so a held-out picture often has a
    close relative in the training split. The licences are in ``omnimask_image/emoji/NOTICE.md``.

    [0] Google: Noto Emoji; names and groups by Unicode, ``emoji-test.txt`` of version 15.0.
    """

    extensions: ClassVar[tuple[str, ...]] = (".webp",)
    field: ClassVar[str] = "image"

    def __init__(self, context: Context) -> None:
        super().__init__(context, path=FILE, labels=LABELS)
        table = csv.DictReader(io.StringIO(self._read(LABELS).decode("utf-8")))
        self.texts = {row["file"]: row["text"] for row in table}

    def key(self, index: int) -> str:
        """Return code points and name: ``1f98a-fox``."""
        return PurePosixPath(self.names[index]).stem

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image`` (bytes of a WebP file), ``label`` and ``text``."""
        return {**super().__getitem__(index), "text": self.texts[self.names[index]]}

    def fingerprint(self) -> str:
        """Return a digest of all names, pictures, labels and texts."""
        digest = blake2b(super().fingerprint().encode(), digest_size=16)
        for name in self.names:
            digest.update(f"{self.labels[name]}\0{self.texts[name]}\0".encode())
        return digest.hexdigest()
