"""Requests to servers with ``fsspec``. Every wait is limited, and failed attempts are repeated.

Imports ``fsspec`` when it is needed, and no torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from omnimask.cache import checksum
from omnimask.remote.retries import note as note_retry

logger = logging.getLogger(__name__)

T = TypeVar("T")

_POLL = 0.05
_LONGEST_PAUSE = 30.0
_LISTS = 10
"""Timeouts to wait for a list of files, which may take many requests."""
_PASSING = (408, 425, 429)
"""Statuses of requests that may succeed later, among those from 400 to 499."""
_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "content_md5", "VersionId", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "modified", "created"),
)
"""Facts about a file that change with its content, by preference; file systems name them differently."""
_HTTP = ("http", "https")
"""Protocols of the extra ``remote``. Each release of the packages for others requires one release of fsspec."""


class Server:
    """File system behind a URL, with a limit on every wait.

    Args:
        url: a file or a folder.
        timeout: seconds without a byte or a response after which an attempt fails.
        retries: attempts after the first. The pause doubles before each.

    Raises:
        ValueError: the URL is malformed, or its protocol needs a missing package.
    """

    def __init__(self, url: str, *, timeout: float, retries: int) -> None:
        check_url(url)
        self.url, self.timeout, self.retries = url, timeout, retries
        self._made: tuple[int, Any] | None = None
        _ = self._files

    @property
    def patience(self) -> float:
        """Return the total seconds of all attempts at a file without any response."""
        pauses = sum(_pause(attempt) for attempt in range(1, self.retries + 1))
        return (self.retries + 1) * self.timeout + pauses

    def info(self, url: str) -> Mapping[str, Any]:
        """Return facts about a file or a folder, as ``fsspec`` does: ``type``, ``size`` and others by protocol.

        Raises:
            OSError: it is missing or refused, or the server does not respond.
        """
        return self._tried(url, lambda: self._waited(lambda: self._files.info(url), url))

    def names(self, url: str) -> list[str]:
        """Return the URLs of a folder's contents. Links to other places are skipped."""
        found = self._tried(f"the list of {url}", lambda: self._waited(lambda: self._files.ls(url, detail=False), url))
        below = self._files._strip_protocol(url).rstrip("/") + "/"
        return [self._files.unstrip_protocol(name) for name in found if self._files._strip_protocol(name).startswith(below)]

    def find(self, url: str) -> dict[str, Mapping[str, Any]]:
        """Return the facts of all files below a folder, or of those that match a pattern (``*``, ``**``), by URL."""
        is_pattern = "*" in url

        def listed() -> Mapping[str, Any]:
            return self._files.glob(url, detail=True) if is_pattern else self._files.find(url, detail=True)

        found = self._tried(f"the list of {url}", lambda: self._waited(listed, url, patience=_LISTS * self.timeout))
        return {self._files.unstrip_protocol(name): info for name, info in found.items() if info.get("type") != "directory"}

    def size(self, url: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            OSError: the file is missing, or the server does not respond.
            ValueError: the server does not report a size.
        """
        size = self.info(url).get("size")
        if not isinstance(size, int):
            raise ValueError(f"the server does not report the size of {url}; write the shards with `omnimask shard`")
        return size

    def read(self, url: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes ``[start, stop)`` of a file; None: to its end."""
        if not start and stop is None:
            return self._tried(url, lambda: self._waited(lambda: self._files.cat_file(url), url))
        data = self._tried(url, lambda: self._waited(lambda: self._files.cat_file(url, start=start, end=stop), url))
        wanted = len(data) if stop is None else stop - start
        return data[start:stop] if len(data) > wanted else data  # a server without ranges returns the whole file

    def load(self, url: str, target: Path, *, size: int, sha256: str = "", crc32: int | None = None) -> None:
        """Copy a file.

        Args:
            url: URL of the file.
            target: destination; attempts are written beside it.
            size: expected size in bytes.
            sha256, crc32: expected digest or checksum, if known.

        Raises:
            OSError: the file is missing, or no attempt succeeded.
        """
        self._tried(url, lambda: self._load(url, target, size, sha256, crc32))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    @property
    def _files(self) -> Any:
        """Return the file system of this process. Connections do not survive a fork."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = os.getpid(), _file_system(self.url, self.timeout)
        return self._made[1]

    def _tried(self, what: str, action: Callable[[], T]) -> T:
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(_pause(attempt))
            try:
                return action()
            except Exception as error:  # every protocol has errors of its own
                _raise_if_final(what, error)
                reason = self._reason(error)
                if attempt == self.retries:
                    raise OSError(
                        f"{what} could not be loaded in {attempt + 1} attempts; last error: {reason}; check the server "
                        "and the address; if it is slow, raise data.cache.timeout or data.cache.retries"
                    ) from error
                logger.warning("%s: attempt %d of %d failed: %s", what, attempt + 1, self.retries + 1, reason)
                note_retry()
        raise AssertionError("at least one attempt is needed")

    def _reason(self, error: BaseException) -> str:
        error = _origin(error)
        if isinstance(error, TimeoutError) and not str(error):
            return f"no byte for {self.timeout:g} seconds"
        return f"{type(error).__name__}: {error}"

    def _waited(
        self, action: Callable[[], T], what: str, progress: Callable[[], int] = lambda: 0, patience: float | None = None
    ) -> T:
        """Run an action in its own thread and return its result. Abandon it if it makes no progress for ``patience`` seconds."""
        patience = patience or self.timeout
        call = _Call(action)
        call.start()
        last, seen = time.monotonic(), progress()
        while call.is_alive():
            call.join(_POLL)
            if (now := progress()) != seen:
                last, seen = time.monotonic(), now
            elif call.is_alive() and time.monotonic() - last > patience:
                raise TimeoutError(f"no answer from {what} for {patience:g} seconds, after {seen:,} bytes")
        return call.result()

    def _load(self, url: str, target: Path, size: int, sha256: str, crc32: int | None) -> None:
        part = target.with_name(f"{target.name}.{time.monotonic_ns()}.part")  # an abandoned attempt may still write to its own
        try:
            self._waited(lambda: self._files.get_file(url, str(part)), url, lambda: part.stat().st_size if part.exists() else 0)
            found = part.stat().st_size
            if found != size:
                raise ValueError(f"it has {found:,} bytes instead of {size:,}")
            if sha256 and _digest(part) != sha256:
                raise ValueError("it is damaged: sha256 mismatch")
            if crc32 is not None and checksum(part) != crc32:
                raise ValueError("it is damaged: CRC-32 mismatch")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


class _Call(threading.Thread):
    """Thread for an action; keeps its result or exception."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__(daemon=True, name="download")
        self._action = action
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._action()
        except BaseException as error:  # raised again by the thread that waits
            self._error = error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def version_of(info: Mapping[str, Any]) -> str:
    """Return a text that differs when the content of a file differs, as far as its file system tells; "" if only its size is known.

    It is the first known of entity tag, digest, version and time.
    """
    key = next((key for key in _VERSIONS if info.get(key)), None)
    if key is None:
        return ""
    value = info[key]
    return f"{key}={value.timestamp() if isinstance(value, datetime) else value}"


def is_url(text: str) -> bool:
    """Return whether a text is a URL and not a path."""
    protocol, separator, rest = text.partition("://")
    return bool(separator and rest) and protocol.replace("+", "").isalnum()


def check_url(url: str) -> None:
    """Reject anything but a URL with a single protocol.

    Raises:
        ValueError: it is a command (``pipe:``), a path, or a chain of protocols.
    """
    if url.startswith("pipe:"):
        raise ValueError(f"data.url: {url!r} is a command; commands are never run")
    if not is_url(url) or "::" in url:
        raise ValueError(f"data.url: must be like https://host/folder or s3://bucket/folder, for files here use path (got {url!r})")


def _raise_if_final(what: str, error: BaseException) -> None:
    """Raise an ``OSError`` if another attempt would fail as well: the file is missing, or the server refuses it."""
    origin = _origin(error)
    status = getattr(origin, "status", getattr(origin, "code", None))
    if isinstance(origin, FileNotFoundError) or status in (404, 410):
        raise FileNotFoundError(f"{what} does not exist on the server; check the address") from error
    is_refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING
    if isinstance(origin, PermissionError) or is_refused:
        status = f"status {status}" if is_refused else str(origin)
        raise PermissionError(f"{what} was refused by the server ({status}); check the address and your credentials") from error


def _origin(error: BaseException) -> BaseException:
    """Return the error of an HTTP server behind a ``FileNotFoundError``, which ``fsspec`` raises for any failed look at a file."""
    cause = error.__cause__
    is_of_server = isinstance(cause, TimeoutError | ConnectionError) or type(cause).__module__.startswith("aiohttp")
    return cause if isinstance(error, FileNotFoundError) and cause is not None and is_of_server else error


def _file_system(url: str, timeout: float) -> Any:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ValueError("data.url needs fsspec, which is not installed: pip install 'omnimask[remote]'") from error
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        if url.startswith(("http://", "https://")):
            import aiohttp

            # the default would end every download after five minutes
            options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)}
        return url_to_fs(url, **options)[0]
    except ImportError as error:
        raise ValueError(f"data.url: {url} needs {_package(url)} ({error})") from error
    except ValueError as error:
        raise ValueError(f"data.url: {url} cannot be opened: {error}") from error


def _package(url: str) -> str:
    """Return the missing package of a protocol, with the command that installs it."""
    from fsspec.registry import known_implementations

    protocol = url.partition("://")[0]
    package = known_implementations[protocol]["class"].partition(".")[0]
    package = "aiohttp" if protocol in _HTTP else package
    command = "pip install 'omnimask[remote]'" if protocol in _HTTP else f"pip install {package}"
    name = "another package" if package == "fsspec" else f"the package {package}"
    return f"{name}, which is not installed" + ("" if package == "fsspec" else f": {command}")


def _pause(attempt: int) -> float:
    return min(_LONGEST_PAUSE, 0.5 * 2**attempt)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
