"""Packs the emoji that omnimask ships: lossless WebP pictures and a table of their groups and names, in one zip file.

``python scripts/pack_emoji.py SOURCE.zip`` writes plugins/omnimask_image/emoji/emoji.zip. The source holds pictures of 64 x 64
pixels and ``captions.csv`` with the columns ``file``, ``name``, ``group`` and ``char``; NOTICE.md beside the output says where they
come from.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
import zipfile
from pathlib import Path

from PIL import Image

OUTPUT = Path(__file__).resolve().parent.parent / "plugins" / "omnimask_image" / "emoji" / "emoji.zip"
SOURCE_TABLE = "captions.csv"
_TIME = (2020, 1, 1, 0, 0, 0)
"""Of every member, so that the same pictures give the same file."""
_VARIATION_SELECTOR = 0xFE0F


def pack(source: Path, output: Path) -> int:
    """Write ``output`` and return the number of pictures."""
    with zipfile.ZipFile(source) as pictures:
        with pictures.open(SOURCE_TABLE) as table:
            rows = list(csv.DictReader(io.TextIOWrapper(table, "utf-8")))
        files = {key_of(row["char"], row["name"]): (row, webp(pictures.read(row["file"]))) for row in rows}
    if len(files) < len(rows):
        raise ValueError(f"{len(rows)} pictures have {len(files)} keys; each needs its own")
    members = {f"{key}.webp": data for key, (_, data) in sorted(files.items())}
    table = table_of({f"{key}.webp": row for key, (row, _) in sorted(files.items())})
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr(zipfile.ZipInfo("labels.csv", _TIME), table, zipfile.ZIP_DEFLATED, 9)
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)  # stored: WebP does not get smaller
    return len(members)


def key_of(characters: str, name: str) -> str:
    """The code points, then the name in ASCII: ``1f98a-fox``."""
    points = "_".join(f"{ord(one):x}" for one in characters if ord(one) != _VARIATION_SELECTOR)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return f"{points}-{re.sub('[^a-z0-9]+', '-', plain).strip('-')}".strip("-")


def webp(data: bytes) -> bytes:
    """The picture as lossless WebP with its transparency."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGBA").save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def table_of(rows: dict[str, dict[str, str]]) -> str:
    """CSV with the columns ``file``, ``label`` (the group) and ``text`` (the name)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("file", "label", "text"))
    writer.writerows((file, row["group"], row["name"]) for file, row in rows.items())
    return buffer.getvalue()


def main() -> None:
    """Packs the source that the command line names."""
    number = pack(Path(sys.argv[1]), OUTPUT)
    print(f"{OUTPUT}: {number} pictures, {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
