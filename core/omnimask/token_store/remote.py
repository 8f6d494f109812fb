"""Store on a server: its manifest and index are loaded at once, and each range file when it is first read."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from omnimask.cache import cache_folder
from omnimask.data.column_files import LIST, mapped_columns
from omnimask.data.scans import Columns
from omnimask.remote import CacheOptions, FileCache, Server
from omnimask.token_store.manifest import MANIFEST, Manifest
from omnimask.token_store.range_file import file_name, keys_of
from omnimask.token_store.range_folder import DamagedStore, check_file

T = TypeVar("T")

INDEX = "index"
_THREADS = 16
_TAIL = 1 << 13
"""Last bytes of a range file to read first; its footer fits."""
_TRIES = 5


class RemoteStore:
    """Files of a store below a URL, with copies in a bounded cache.

    A copy belongs to the checksum in the index, so a copy of another version is never used. All processes of a machine share them.

    Args:
        url: folder of the store, as ``fsspec`` reads it.
        options: location and size of the cache, timeouts and retries.

    Raises:
        ValueError: the URL is malformed, or its protocol needs a missing package.
    """

    remedy = ""
    is_bounded = True

    def __init__(self, url: str, options: CacheOptions) -> None:
        self.url = url.rstrip("/")
        self.server = Server(self.url, timeout=options.timeout, retries=options.retries)
        self.cache = FileCache(options.folder or cache_folder() / "remote", options.size, self.server.patience)
        self._listed = b""

    def manifest(self) -> Manifest:
        """Load the manifest.

        Raises:
            UserError: it is damaged or of a newer version.
            ValueError: it is missing, or the server does not respond.
        """
        place = f"{self.url}/{MANIFEST}"
        try:
            return Manifest.parse(self.server.read(place), place)
        except FileNotFoundError as error:
            raise ValueError(f"data.url: {self.url} has no {MANIFEST}; copy all files of the store to the server") from error
        except OSError as error:
            raise ValueError(f"data.url: {error}") from error

    def index(self) -> Columns:
        """Load the columns of the index, and map their copies.

        Raises:
            ValueError: the store is not complete, its index is damaged, or the server does not respond.
        """
        place = f"{self.url}/{INDEX}"
        try:
            self._listed = self.server.read(f"{place}/{LIST}")
            listed = json.loads(self._listed)
            if not isinstance(listed, dict) or not all(str(name).isidentifier() for name in listed):
                raise ValueError(f"{LIST} does not list columns")
            return mapped_columns(listed, lambda name, read: self._mapped_column(f"{place}/{name}.npy", listed[name], read))
        except FileNotFoundError as error:
            raise ValueError(f"data.url: {self.url} is not complete: {error}; copy all files of a complete store") from error
        except OSError as error:
            raise ValueError(f"data.url: {error}") from error
        except (ValueError, EOFError, AttributeError) as error:
            raise ValueError(f"data.url: the index {place} is damaged ({error}); copy the store to the server again") from error

    def path(self, number: int, size: int, crc32: int) -> Path:
        """Return the path of a file's copy. Load it first if necessary. Other files may displace it; a mapped one stays readable.

        Raises:
            DamagedStore: the file is missing, damaged or changed, or the server does not respond.
        """
        place, name = f"{self.url}/{file_name(number)}", self._copy_name(file_name(number), size, crc32)
        try:
            self._copied(name, size, lambda target: self.server.load(place, target, size=size, crc32=crc32))
        except (OSError, ValueError) as error:
            raise self._damage(place, error) from error
        return self.cache.folder / name

    def check(self, number: int, size: int, crc32: int) -> None:
        """Compare the bytes of a file's copy with those that were written. A damaged copy is loaded again.

        Raises:
            DamagedStore: the file is missing, damaged or changed, or the server does not respond.
        """
        for _ in range(_TRIES):
            path = self.path(number, size, crc32)
            try:
                return check_file(path, size, crc32)
            except DamagedStore:
                path.unlink(missing_ok=True)
        raise DamagedStore(f"copies of {file_name(number)} are {self._lost}")

    def keys(self, sizes: list[int]) -> dict[int, list[str]]:
        """Return the keys of the rows of every file by its number. Only the bytes of the keys are loaded.

        Args:
            sizes: of the files in bytes.

        Raises:
            DamagedStore: a file is missing or has no keys, or the server does not respond.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(enumerate(pool.map(self._keys, range(len(sizes)), sizes)))

    def _keys(self, number: int, size: int) -> list[str]:
        place = f"{self.url}/{file_name(number)}"
        try:
            return keys_of(_RemoteBytes(self.server, place, size), place)
        except (OSError, ValueError) as error:
            raise self._damage(place, error) from error

    def _mapped_column(self, place: str, crc32: int, read: Callable[[Path], T]) -> T:
        name = self._copy_name(place.rpartition("/")[2], 0, crc32)

        def load(target: Path) -> None:
            self.server.load(place, target, size=self.server.size(place))
            read(target)

        for _ in range(_TRIES):
            self._copied(name, None, load)
            try:
                return read(self.cache.folder / name)
            except FileNotFoundError:  # displaced at once
                continue
            except ValueError:
                (self.cache.folder / name).unlink(missing_ok=True)
        raise ValueError(f"its copies are {self._lost}")

    @property
    def _lost(self) -> str:
        return f"damaged or displaced at once in {self.cache.folder}; raise data.cache.size, or check that disk"

    def _copied(self, name: str, size: int | None, load: Callable[[Path], object]) -> None:
        os.close(self.cache.open(name, size, load))

    def _copy_name(self, name: str, size: int, crc32: int) -> str:
        digest = blake2b(repr((self.url, name, size, crc32)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return f"{digest}-{name}"

    def _damage(self, place: str, error: Exception) -> DamagedStore:
        """Return the error for a file that cannot be read; its reason is another one if the store has changed since the start."""
        try:
            is_changed = self.server.read(f"{self.url}/{INDEX}/{LIST}") != self._listed
        except OSError:
            is_changed = False
        if is_changed:
            reason = f"{place} cannot be read because the store has changed on the server since the start of the run"
            return DamagedStore(f"{reason}; restore it, or begin another run")
        return DamagedStore(f"{error}; if its bytes are damaged or missing, copy the store to the server again")


class _RemoteBytes(io.RawIOBase):
    """Bytes of a file on a server, loaded by ranges. The last ones are loaded once."""

    def __init__(self, server: Server, url: str, size: int) -> None:
        super().__init__()
        self._server, self._url, self._size, self._at = server, url, size, 0
        self._begin = max(0, size - _TAIL)
        self._tail = server.read(url, self._begin, size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        if self._at >= self._begin:
            found = self._tail[self._at - self._begin : stop - self._begin]
        else:
            found = self._server.read(self._url, self._at, stop)
        self._at += len(found)
        return found
