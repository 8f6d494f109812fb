"""Downloads with ``fsspec``. Every wait is limited, and failed attempts are repeated."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omnimask.files import note_retry

logger = logging.getLogger(f"omnimask.{__name__}")

T = TypeVar("T")

_POLL = 0.05
_LONGEST_PAUSE = 30.0


class Remote:
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

    def names(self, url: str) -> list[str]:
        """Return the URLs of a folder's contents. Links to other places are skipped."""
        found = self._tried(f"the list of {url}", lambda: self._waited(lambda: self._files.ls(url, detail=False), url))
        below = self._files._strip_protocol(url).rstrip("/") + "/"
        return [self._files.unstrip_protocol(name) for name in found if self._files._strip_protocol(name).startswith(below)]

    def size(self, url: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            OSError: the file is missing, or the server does not respond.
            ValueError: the server does not report a size.
        """
        size = self._tried(url, lambda: self._waited(lambda: self._files.info(url), url)).get("size")
        if not isinstance(size, int):
            raise ValueError(f"the server does not report the size of {url}; write the shards with `omnimask shard`")
        return size

    def read(self, url: str) -> bytes:
        """Return the contents of a small file."""
        return self._tried(url, lambda: self._waited(lambda: self._files.cat_file(url), url))

    def load(self, url: str, target: Path, *, size: int, sha256: str = "") -> None:
        """Copy a file.

        Args:
            url: URL of the file.
            target: destination; attempts are written beside it.
            size: expected size in bytes.
            sha256: expected digest, if known.

        Raises:
            OSError: the file is missing, or no attempt succeeded.
        """
        self._tried(url, lambda: self._load(url, target, size, sha256))

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
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:  # every protocol has errors of its own
                is_silence = isinstance(error, TimeoutError) and not str(error)
                reason = f"no byte for {self.timeout:g} seconds" if is_silence else f"{type(error).__name__}: {error}"
                if attempt == self.retries:
                    raise OSError(f"{what} could not be loaded in {attempt + 1} attempts; last error: {reason}") from error
                logger.warning("%s: attempt %d of %d failed: %s", what, attempt + 1, self.retries + 1, reason)
                note_retry()
        raise AssertionError("at least one attempt is needed")

    def _waited(self, action: Callable[[], T], what: str, progress: Callable[[], int] = lambda: 0) -> T:
        """Run an action in its own thread and return its result. Abandon it if it makes no progress."""
        call = _Call(action)
        call.start()
        last, seen = time.monotonic(), progress()
        while call.is_alive():
            call.join(_POLL)
            if (now := progress()) != seen:
                last, seen = time.monotonic(), now
            elif call.is_alive() and time.monotonic() - last > self.timeout:
                raise TimeoutError(f"no answer from {what} for {self.timeout:g} seconds, after {seen:,} bytes")
        return call.result()

    def _load(self, url: str, target: Path, size: int, sha256: str) -> None:
        part = target.with_name(f"{target.name}.{time.monotonic_ns()}.part")  # an abandoned attempt may still write to its own
        try:
            self._waited(lambda: self._files.get_file(url, str(part)), url, lambda: part.stat().st_size if part.exists() else 0)
            found = part.stat().st_size
            if found != size:
                raise ValueError(f"it has {found:,} bytes instead of {size:,}")
            if sha256 and _digest(part) != sha256:
                raise ValueError("it is damaged: sha256 mismatch")
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


def check_url(url: str) -> None:
    """Reject anything but a URL with a single protocol.

    Raises:
        ValueError: it is a command (``pipe:``), a path, or a chain of protocols.
    """
    protocol, separator, rest = url.partition("://")
    if url.startswith("pipe:"):
        raise ValueError(f"data.url: {url!r} is a command; commands are never run")
    if not separator or not protocol.replace("+", "").isalnum() or "::" in url or not rest:
        raise ValueError(f"data.url: must be like https://host/folder or s3://bucket/folder, for files here use path (got {url!r})")


def _file_system(url: str, timeout: float) -> Any:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ValueError("data.url needs fsspec, which is not installed: pip install 'omnimask[shards]'") from error
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if url.startswith(("http://", "https://")):
        import aiohttp

        # the default would end every download after five minutes
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)}
    try:
        return url_to_fs(url, **options)[0]
    except (ImportError, ValueError) as error:
        raise ValueError(f"data.url: {url} cannot be opened: {error}") from error


def _pause(attempt: int) -> float:
    return min(_LONGEST_PAUSE, 0.5 * 2**attempt)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
