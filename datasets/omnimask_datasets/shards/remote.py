"""Shards on a server: listed and indexed at the start, copied into a bounded cache on their first read."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from omnimask.cache import cache_folder
from omnimask.remote import CacheOptions, FileCache, Server, check_url, expanded, url_path
from omnimask_datasets.shards import manifest
from omnimask_datasets.shards.index import SUFFIX, ShardIndex, index_of_open, read_index
from omnimask_datasets.shards.local import TAR, write_index
from omnimask_datasets.shards.manifest import ShardEntry, ShardManifest

_THREADS = 16
_FORGIVEN = 60.0
"""Seconds before a failed shard is tried again, so that its other samples fail at once."""


class RemoteShards:
    """Shards of a URL: a folder with a manifest or a file listing, one tar file, or a pattern with braces.

    Raises:
        ValueError: the URL is refused, nothing is found there, or its content is damaged or malicious.
    """

    def __init__(self, url: str, cache: CacheOptions) -> None:
        check_url(url)
        self.remote = Server(expanded(url)[0], timeout=cache.timeout, retries=cache.retries)
        folder = cache.folder or cache_folder() / "shards"
        self.cache = FileCache(folder / "tars", cache.size, self.remote.patience)
        try:
            self.urls, entries = self._find(url)
            self.names = _short(self.urls)
            with ThreadPoolExecutor(_THREADS) as pool:
                self.indexes = list(
                    pool.map(lambda pair: self._index(folder / "indexes", *pair), zip(self.urls, entries, strict=True))
                )
        except OSError as error:
            raise ValueError(f"data.url: {error}") from error
        self._failed: dict[int, tuple[float, str]] = {}

    def open(self, number: int) -> int:
        """Return a descriptor of the local copy of a shard. Copy the shard first if necessary.

        Raises:
            OSError: the shard cannot be loaded. Soon after a failure it is not tried again.
            ValueError: the shard is larger than the cache.
        """
        until, reason = self._failed.get(number, (0.0, ""))
        if time.monotonic() < until:
            raise OSError(reason)
        try:
            return self._open(self.urls[number], self.indexes[number].size, self.indexes[number].sha256)
        except OSError as failure:
            self._failed[number] = time.monotonic() + _FORGIVEN, str(failure)
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_failed": {}}

    def _find(self, url: str) -> tuple[list[str], Sequence[ShardEntry | None]]:
        """Return the URLs of the shards, and their entries in the manifest."""
        urls = expanded(url)
        if len(urls) > 1 or url_path(url).endswith(TAR):
            return urls, [None] * len(urls)
        place = f"{url.rstrip('/')}/{manifest.NAME}"
        try:
            listed = ShardManifest.from_bytes(self.remote.read(place), place)
        except FileNotFoundError:
            found = sorted(name for name in self.remote.names(url) if url_path(name).endswith(TAR))
            if not found:
                raise ValueError(f"data.url: {url} lists neither a {manifest.NAME} nor files ending in {TAR}") from None
            return found, [None] * len(found)
        return [f"{url.rstrip('/')}/{entry.name}" for entry in listed.shards], listed.shards

    def _index(self, folder: Path, url: str, entry: ShardEntry | None) -> ShardIndex:
        """Return the index of a shard: the local one, the one beside the shard, or one created from a copy of the shard."""
        size = self.remote.size(url) if entry is None else entry.size
        kept = folder / f"{_digest(url)}{SUFFIX}"
        try:
            index = read_index(kept)
        except ValueError:
            index = None
        if index is not None and _fits(index, size, entry):
            return index
        index = self._beside(url) or self._made(url, size, entry)
        if not _fits(index, size, entry):
            index = self._made(url, size, entry)
        if not _fits(index, size, entry):
            raise ValueError(f"data.url: {url} does not match {manifest.NAME}: it has other members")
        write_index(kept, index)
        return index

    def _beside(self, url: str) -> ShardIndex | None:
        try:
            return ShardIndex.from_bytes(self.remote.read(url + SUFFIX))
        except (OSError, ValueError):
            return None  # then the shard itself says where its samples lie

    def _made(self, url: str, size: int, entry: ShardEntry | None) -> ShardIndex:
        descriptor = self._open(url, size, entry.sha256 if entry else "")
        try:
            index = index_of_open(descriptor, url_path(url))
        finally:
            os.close(descriptor)
        return dataclasses.replace(index, mtime=0, sha256=entry.sha256 if entry else "")

    def _open(self, url: str, size: int, sha256: str) -> int:
        name = f"{_digest(url)}-{re.sub(r'[^A-Za-z0-9._-]', '_', PurePosixPath(url_path(url)).name)[-80:]}"
        return self.cache.open(name, size, lambda target: self.remote.load(url, target, size=size, sha256=sha256))


def _short(urls: Sequence[str]) -> list[str]:
    """Return the URLs' paths without their common folders."""
    parts = [url_path(url).split("/") for url in urls]
    folders = [path[:-1] for path in parts]
    shared = next((n for n, names in enumerate(zip(*folders, strict=False)) if len(set(names)) > 1), min(map(len, folders)))
    return ["/".join(path[shared:]) for path in parts]


def _fits(index: ShardIndex, size: int, entry: ShardEntry | None) -> bool:
    return index.size == size and (entry is None or index.headers == entry.headers)


def _digest(url: str) -> str:
    return blake2b(url.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
