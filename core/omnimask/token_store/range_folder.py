"""Range files of a store on a local disk."""

from __future__ import annotations

from pathlib import Path

from omnimask.cache import checksum
from omnimask.token_store.range_file import file_name


class DamagedStore(ValueError):
    """File of a store that is missing or has other bytes than were written."""


class RangeFolder:
    """Folder with the range files of a store."""

    remedy = "repeat the `omnimask tokenize` command, which makes damaged files anew"
    is_bounded = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int, size: int, crc32: int) -> Path:
        """Return the path of a file."""
        del size, crc32
        return self.folder / file_name(number)

    def check(self, number: int, size: int, crc32: int) -> None:
        """Compare the bytes of a file with those that were written.

        Raises:
            DamagedStore: the file is missing, or has other bytes.
        """
        check_file(self.folder / file_name(number), size, crc32)

    def keys(self, sizes: list[int]) -> dict[int, list[str]]:
        """Return nothing: keys of local files are read where they are needed."""
        del sizes
        return {}


def check_file(path: Path, size: int, crc32: int) -> None:
    """Raise :class:`DamagedStore` unless a file has the given size and CRC-32."""
    try:
        found = path.stat().st_size
        if found != size:
            raise DamagedStore(f"{path} has {found:,} bytes, but {size:,} were written")
        if checksum(path) != crc32:
            raise DamagedStore(f"{path} is damaged: its checksum differs from the one that was written")
    except OSError as error:
        raise DamagedStore(f"{path} cannot be read: {error.strerror or error}") from error
