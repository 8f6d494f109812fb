"""Index of a shard, which makes another pass over the file unnecessary. N samples, M members, in file order.

An index is a file ``NAME.tar.index``: arrays in an uncompressed NumPy archive without objects.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask_datasets.shards.names import is_refused, split_name
from omnimask_datasets.shards.tar_headers import Member, Problem, Walk

FORMAT = 1
SUFFIX = ".index"
_CHUNK = 2**20
_ARRAYS = {
    "keys": np.uint8,
    "key_ends": np.int64,
    "member_ends": np.int64,
    "offsets": np.int64,
    "sizes": np.int64,
    "endings": np.int16,
    "hashes": np.uint64,
    "checksums": np.uint32,
    "tokens": np.int64,
}


class DamagedShard(ValueError):
    """Unusable shard; ``problem`` contains the place and the reason."""

    def __init__(self, name: str, problem: Problem) -> None:
        super().__init__(f"{name}: {problem}")
        self.problem = problem


@dataclass(frozen=True)
class ShardIndex:
    """Places of a shard's samples.

    Args:
        size, mtime: size of the tar file in bytes, and nanoseconds of its last change; 0 if meaningless (on a server).
        headers: digest of all headers of the tar file.
        names: endings of members, in lower case; ``endings`` are indices into this list.
        keys, key_ends: bytes of all keys, UTF-8, concatenated; (N,) end of each key.
        member_ends: (N,) number of the first member behind each sample.
        offsets, sizes, endings: (M,) first byte, size and ending of each member.
        hashes: (N,) hashes of the keys, to find duplicates.
        sha256: digest of the tar file; empty if it was never read completely.
        checksums: (M,) CRC-32 of the members' bytes; empty if they were never read.
        tokens: (N,) tokens of each sample as counted by ``reading``; empty if not counted.
    """

    size: int
    mtime: int
    headers: str
    names: tuple[str, ...]
    keys: NDArray[np.uint8]
    key_ends: NDArray[np.int64]
    member_ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    endings: NDArray[np.int16]
    hashes: NDArray[np.uint64]
    sha256: str = ""
    reading: str = ""
    checksums: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.key_ends)

    def key(self, sample: int) -> str:
        """Return the key of a sample, counted from 0."""
        start = self.key_ends[sample - 1] if sample else 0
        return self._text[start : self.key_ends[sample]].decode("utf-8", "surrogateescape")

    def members(self, sample: int) -> range:
        """Return the numbers of a sample's members."""
        return range(int(self.member_ends[sample - 1]) if sample else 0, int(self.member_ends[sample]))

    @cached_property
    def _text(self) -> bytes:
        return self.keys.tobytes()

    def to_bytes(self) -> bytes:
        """Return the content of an index file."""
        meta = {name: getattr(self, name) for name in ("size", "mtime", "headers", "names", "sha256", "reading")}
        stream = io.BytesIO()
        about = np.frombuffer(json.dumps({"format": FORMAT, **meta}).encode(), np.uint8)
        np.savez(stream, allow_pickle=False, meta=about, **{name: getattr(self, name) for name in _ARRAYS})
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ShardIndex:
        """Read the content of an index file and check its consistency.

        Raises:
            ValueError: the content is inconsistent or in an unsupported format.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                    raise ValueError("it is compressed")
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                meta: dict[str, Any] = json.loads(stored["meta"].tobytes())
                arrays = {name: stored[name] for name in _ARRAYS}
            if meta.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            index = cls(**{**meta, "names": tuple(meta["names"])}, **arrays)
            index._check()
        except (zipfile.BadZipFile, KeyError, TypeError, EOFError, OSError, MemoryError) as error:
            raise ValueError(f"it cannot be read: {type(error).__name__}: {error}") from error
        return index

    def _check(self) -> None:
        num_samples, num_members = len(self.key_ends), len(self.offsets)
        is_sound = (
            all(getattr(self, name).dtype == dtype and getattr(self, name).ndim == 1 for name, dtype in _ARRAYS.items())
            and len(self.member_ends) == len(self.hashes) == num_samples
            and len(self.sizes) == len(self.endings) == num_members
            and len(self.checksums) in (0, num_members)
            and len(self.tokens) in (0, num_samples)
            and _ascends(self.key_ends, len(self.keys))
            and _ascends(self.member_ends, num_members)
            and bool((self.sizes >= 0).all() and (self.offsets >= 0).all())
            and bool((self.offsets <= self.size - self.sizes).all())
            and bool((self.endings >= 0).all() and (self.endings < len(self.names)).all())
        )
        if not is_sound:
            raise ValueError("it is inconsistent")
        if refused := [name for name in self.names if is_refused(name)]:
            raise ValueError(f"it lists members ending in .{refused[0]}, which are not allowed")


def read_index(path: Path) -> ShardIndex | None:
    """Return the index in a file, or None if the file is missing.

    Raises:
        ValueError: the index is damaged or in an unsupported format.
        OSError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return ShardIndex.from_bytes(data)
    except ValueError as error:
        raise ValueError(f"the index {path} cannot be used: {error}") from error


def make_index(path: Path, name: str) -> ShardIndex:
    """Return :func:`index_of_open` for the shard at a path."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return index_of_open(descriptor, name)
    finally:
        os.close(descriptor)


def index_of_open(descriptor: int, name: str) -> ShardIndex:
    """Create the index in one pass over the headers of a shard.

    Args:
        descriptor: descriptor of the open tar file.
        name: name of the shard, for messages.

    Raises:
        DamagedShard: the shard is truncated or damaged, has refused members, or its samples are not contiguous.
        OSError: the shard cannot be read.
    """
    walk, builder = Walk(descriptor), IndexBuilder()
    for found in walk:
        problem = found if isinstance(found, Problem) else builder.add(found)
        if problem is not None:
            raise DamagedShard(name, problem)
    return builder.index(walk.size, os.fstat(descriptor).st_mtime_ns, walk.headers)


class IndexBuilder:
    """Collector of members into samples. Members that belong to none are left out."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._member_ends: list[int] = []
        self._members: list[tuple[int, int, int]] = []
        self._names: dict[str, int] = {}
        self._last = ""
        self._here: set[str] = set()

    def add(self, member: Member) -> Problem | None:
        """Add the next member. Return its problem, if it has one."""
        split = split_name(member.name)
        if split is None:
            return None
        key, ending = split
        if is_refused(ending):
            reason = "it may contain a pickle, which runs code on reading; write the data in another format"
            return Problem("refused member", member.offset, f"{member.name}: {reason}")
        if key != self._last and key in self._keys:
            message = f"{member.name}: members of sample {key} are not adjacent"
            return Problem("interleaved", member.offset, message)
        if key == self._last and ending in self._here:
            return Problem("duplicate", member.offset, f"{member.name}: duplicate member of sample {key}")
        if key != self._last:
            self._keys[key] = None
            self._last, self._here = key, set()
            self._member_ends.append(len(self._members))
        self._here.add(ending)
        self._members.append((member.offset, member.size, self._names.setdefault(ending, len(self._names))))
        self._member_ends[-1] = len(self._members)
        return None

    def index(self, size: int, mtime: int, headers: str) -> ShardIndex:
        """Return the index of the collected members; ``size``, ``mtime`` and ``headers`` are those of the tar file."""
        keys = [key.encode("utf-8", "surrogateescape") for key in self._keys]
        offsets, sizes, endings = np.array(self._members, np.int64).reshape(-1, 3).T
        return ShardIndex(
            size=size,
            mtime=mtime,
            headers=headers,
            names=tuple(self._names),
            keys=np.frombuffer(b"".join(keys), np.uint8),
            key_ends=np.cumsum([len(key) for key in keys], dtype=np.int64),
            member_ends=np.array(self._member_ends, np.int64),
            offsets=np.ascontiguousarray(offsets),
            sizes=np.ascontiguousarray(sizes),
            endings=endings.astype(np.int16),
            hashes=np.array([_hash(key) for key in keys], np.uint64),
        )


def with_content(index: ShardIndex, path: Path) -> ShardIndex:
    """Return the index with ``sha256`` and ``checksums``. This reads the whole tar file."""
    digest, checksums = sha256(), np.zeros(len(index.offsets), np.uint32)
    with path.open("rb") as file:
        for number, (offset, size) in enumerate(zip(index.offsets.tolist(), index.sizes.tolist(), strict=True)):
            for chunk in _chunks(file, offset - file.tell()):
                digest.update(chunk)
            checksum = 0
            for chunk in _chunks(file, size):
                digest.update(chunk)
                checksum = zlib.crc32(chunk, checksum)
            checksums[number] = checksum
        for chunk in _chunks(file, index.size - file.tell()):
            digest.update(chunk)
    return replace(index, sha256=digest.hexdigest(), checksums=checksums)


def same_keys(indexes: Sequence[ShardIndex]) -> Iterator[tuple[str, int, int]]:
    """Yield keys found in several shards, each with the numbers of two of them, the lower first."""
    # keys are compared only for equal hashes, which sorting makes adjacent
    starts = np.cumsum([0, *map(len, indexes)])
    hashes = np.concatenate([np.zeros(0, np.uint64), *(index.hashes for index in indexes)])
    order = np.argsort(hashes, kind="stable")
    for pair in np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]).tolist():
        samples = order[pair : pair + 2]
        shards: list[int] = (np.searchsorted(starts, samples, side="right") - 1).tolist()
        keys = [indexes[shard].key(int(sample - starts[shard])) for shard, sample in zip(shards, samples, strict=True)]
        if keys[0] == keys[1]:
            yield keys[0], shards[0], shards[1]


def _chunks(file: Any, size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise ValueError(f"{file.name} was truncated while it was read")
        size -= len(chunk)
        yield chunk


def _ascends(ends: NDArray[np.int64], last: int) -> bool:
    """Return whether the numbers ascend from 0 and end at ``last``."""
    return bool((np.diff(ends, prepend=0) >= 0).all()) and (int(ends[-1]) if len(ends) else 0) == last


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
