"""Files of a server, read through a bounded cache of local copies."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from omnimask.cache import cache_folder
from omnimask.remote.file_cache import FileCache
from omnimask.remote.options import CacheOptions
from omnimask.remote.server import Server, check_url, version_of

PACKED = ".gz"
_DEFAULTS = CacheOptions()
_THREADS = 16
_FORGIVEN = 60.0
"""Seconds before a failed file is tried again, so that its other samples fail at once."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a server.

    ``name`` relative to the folder, with forward slashes; ``size`` in bytes; ``version`` changes with the content, and is empty if
    the file system tells only the size.
    """

    url: str
    name: str
    size: int
    version: str

    @property
    def identity(self) -> tuple[str, ...]:
        """Return what changes when the file is another one, or has another content."""
        return self.url, str(self.size), self.version


class RemoteFiles:
    """Files at a URL. They are copied into a cache on their first read.

    A copy belongs to one version of its file: a file that changes on the server during a run is an error, and is loaded again by
    the next run. A copy is complete or absent. All processes of a machine share the copies.

    Args:
        url: a file, a folder, a pattern (``*`` within a folder, ``**`` across folders), or files by braces: ``a-{0..9}``.
        options: location and size of the cache, timeouts and retries.

    Raises:
        ValueError: the URL is malformed, or its protocol needs a missing package.
    """

    def __init__(self, url: str, options: CacheOptions = _DEFAULTS) -> None:
        check_url(url)
        self.url = url
        self.server = Server(expanded(url)[0], timeout=options.timeout, retries=options.retries)
        self.cache = FileCache(options.folder or cache_folder() / "remote", options.size, self.server.patience)
        self._failed: dict[str, tuple[float, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_failed": {}}

    def find(self, is_wanted: Callable[[str], bool]) -> list[RemoteFile]:
        """Return the file at the URL, or the wanted ones of a folder or pattern, sorted by name. Hidden files are skipped.

        Args:
            is_wanted: whether a folder has a file of this name to be read. A single file may have any name.

        Raises:
            ValueError: there is no such file, or the server does not report its size.
            OSError: the server does not respond.
        """
        if len(urls := expanded(self.url)) > 1:
            with ThreadPoolExecutor(_THREADS) as pool:
                found = dict(zip(urls, pool.map(self.server.info, urls), strict=True))
        elif "*" not in url_path(self.url) and not _is_folder(info := self.server.info(self.url), self.url, is_wanted):
            return [self._file(self.url, PurePosixPath(url_path(self.url)).name, info)]
        else:
            found = self._below(self.url, is_wanted)
        names = dict(zip(found, _relative(self.url, list(found)), strict=True))
        chosen = [(name, url) for url, name in names.items() if is_wanted(name) and not _is_hidden(name)]
        if not chosen:
            raise ValueError(f"data.url: {self.url} has no files to read among {len(found)}")
        return [self._file(url, name, found[url]) for name, url in sorted(chosen)]

    def one(self) -> RemoteFile:
        """Return the file at the URL. Raise ``OSError`` if it is missing or the server does not respond."""
        return self._file(self.url, PurePosixPath(url_path(self.url)).name, self.server.info(self.url))

    def open(self, file: RemoteFile, *, unpacked: bool = False) -> BinaryIO:
        """Return an unbuffered stream of a file's copy. Copy it first if necessary. The copy may be removed while it is open.

        Args:
            file: one of this URL.
            unpacked: decompress a file ending in ``.gz``; the copy is the content.

        Raises:
            OSError: the file cannot be loaded. Soon after a failure it is not tried again.
            ValueError: the file is larger than the cache, is damaged, or has changed on the server.
        """
        until, reason = self._failed.get(file.url, (0.0, ""))
        if time.monotonic() < until:
            raise OSError(reason)
        name, is_packed = self._copy_name(file, unpacked=unpacked), unpacked and file.name.lower().endswith(PACKED)
        try:
            size = None if is_packed else file.size
            descriptor = self.cache.open(name, size, lambda target: self._load(file, target, is_packed), at_least=file.size)
        except OSError as failure:
            self._failed[file.url] = time.monotonic() + _FORGIVEN, str(failure)
            raise
        return os.fdopen(descriptor, "rb", buffering=0)

    def path(self, file: RemoteFile) -> Path:
        """Return the path of a file's copy. Other files may displace it; an open or mapped copy stays readable."""
        self.open(file).close()
        return self.cache.folder / self._copy_name(file, unpacked=False)

    def _copy_name(self, file: RemoteFile, *, unpacked: bool) -> str:
        digest = blake2b(repr((file.identity, unpacked)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return f"{digest}-{re.sub(r'[^A-Za-z0-9._-]', '_', PurePosixPath(file.name).name)[-80:]}"

    def _load(self, file: RemoteFile, target: Path, is_packed: bool) -> None:
        packed = target.with_name(f"{target.name}{PACKED}") if is_packed else target
        try:
            self.server.load(file.url, packed, size=file.size)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._check_version(file, error)
            raise
        self._check_version(file)
        if is_packed:
            _unpack(packed, target, file.url)

    def _check_version(self, file: RemoteFile, cause: Exception | None = None) -> None:
        """Raise ``ValueError`` if the file on the server is not the one that was found at the start."""
        now = self._file(file.url, file.name, self.server.info(file.url))
        if now.identity != file.identity:
            raise ValueError(
                f"{file.url} has changed on the server since the start of the run: {_shown(now)} instead of {_shown(file)}; "
                "restore it, or begin another run"
            ) from cause

    def _below(self, url: str, is_wanted: Callable[[str], bool]) -> dict[str, Mapping[str, Any]]:
        """Return the facts of the files below a folder, or of those that match a pattern, by URL."""
        try:
            found = self.server.find(url)
        except FileNotFoundError:
            found = {}
        known = {place: info for place, info in found.items() if isinstance(info.get("size"), int)}
        if known:  # lists of some protocols tell less about a file, or in another form, than a look at it
            place, info = next(iter(known.items()))
            known = known if version_of(self.server.info(place)) == version_of(info) else {}
        asked = [place for place in found if place not in known and is_wanted(url_path(place))]
        with ThreadPoolExecutor(_THREADS) as pool:
            return {**found, **dict(zip(asked, pool.map(self.server.info, asked), strict=True))}

    def _file(self, url: str, name: str, info: Mapping[str, Any]) -> RemoteFile:
        size = info.get("size")
        if not isinstance(size, int):
            raise ValueError(f"data.url: the server does not report the size of {url}")
        return RemoteFile(url, unquote(name) if url.startswith("http") else name, size, version_of(info))


def local_file(url: str, options: CacheOptions = _DEFAULTS) -> Path:
    """Return the path of a local copy of a file on a server, complete and of its current version. Copy it first if necessary.

    The copy lies in a bounded cache, from which other files may displace it; open or map it soon. Then it stays readable.

    Raises:
        OSError: the file is missing or refused, or no attempt succeeded.
        ValueError: the URL is malformed, its protocol needs a missing package, or the file is larger than the cache.
    """
    files = RemoteFiles(url, options)
    return files.path(files.one())


def open_url(url: str, options: CacheOptions = _DEFAULTS) -> BinaryIO:
    """Return an unbuffered stream of a local copy of a file on a server. See :func:`local_file`."""
    files = RemoteFiles(url, options)
    return files.open(files.one())


def _is_folder(info: Mapping[str, Any], url: str, is_wanted: Callable[[str], bool]) -> bool:
    """Return whether a URL is a folder. Over HTTP it is a page with links."""
    if info.get("type") == "directory" or url.endswith("/"):
        return True
    return url.startswith("http") and info.get("mimetype") == "text/html" and not is_wanted(url_path(url))


def _relative(url: str, found: Sequence[str]) -> list[str]:
    """Return names relative to the folder of a URL; for a pattern, to the folder before its first special character."""
    path = url_path(url).lstrip("/")  # some protocols begin theirs with a slash
    fixed = re.split(r"[*{]", path, maxsplit=1)[0]
    folder = path.rstrip("/") if fixed == path else fixed.rpartition("/")[0]
    return [url_path(place).lstrip("/").removeprefix(folder).lstrip("/") for place in found]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def expanded(url: str) -> list[str]:
    """Return the URLs of a pattern with braces: ``a-{000..002}.jsonl``."""
    if "{" not in url:
        return [url]
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise ValueError("braces in data.url need the package braceexpand: pip install 'omnimask[remote]'") from error
    try:
        return list(braceexpand(url))
    except ValueError as error:
        raise ValueError(f"data.url: the braces of {url} do not match: {error}") from error


def url_path(url: str) -> str:
    """Return a URL's host and path, without the query."""
    split = urlsplit(url)
    return split.netloc + split.path


def _shown(file: RemoteFile) -> str:
    return f"{file.size:,} bytes" + (f", {file.version}" if file.version else "")


def _unpack(packed: Path, target: Path, url: str) -> None:
    try:
        with gzip.open(packed) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, 2**20)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{url} cannot be decompressed: {error}") from error
    finally:
        packed.unlink(missing_ok=True)
