"""The data set ``shards``: samples of tar files by index, read at random places."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context
from omnimask_datasets.shards.index import same_keys
from omnimask_datasets.shards.local import LocalShards
from omnimask_datasets.shards.names import LABEL, field_of, is_refused, value_of
from omnimask_datasets.shards.reader import Reader, ShardFiles
from omnimask_datasets.shards.remote import Cache, RemoteShards

_CACHE = Cache()


class _Wanted(NamedTuple):
    """A member that is read: its place among those of its sample, its ending, and the field that it becomes."""

    number: int
    ending: str
    field: str


class Shards:
    """The samples of tar files, in the form of WebDataset: consecutive members ``KEY.ENDING`` of one key are one sample.

    Shards have an index, beside them or in the cache, which is made when they are first used; so every sample is one read at a
    known place. The order of an epoch permutes the shards, and the samples within windows (``data.window``). A member's ending
    decides its field (``jpg`` is ``image``, ``left.jpg`` is ``left``) and its value: ``.cls`` is a number, ``.json`` what it says,
    ``.npy`` an array; anything else stays ``bytes`` for the modality's decoder. Nothing is ever unpickled: shards with members
    that may hold pickles are refused, as are links, devices, and names that lead out of a folder. Without a label a sample is
    labelled by the first folder of its key, where it has one.

    Args:
        path: a folder with tar files and, if it has one, their ``manifest.json``; or one tar file.
        url: instead of a path, what ``fsspec`` reads: a folder on a server (``https://host/folder``, ``s3://bucket/folder``) that
            has a ``manifest.json`` or lists its files, or tar files (``https://host/a-{000..123}.tar``). Shards are copied into a
            cache when they are first read; those without an index beside them, at the start.
        cache: where the copies lie, and how patiently they are fetched.
        fields: endings of each field, the first of which that a sample has is read; nothing else is. null: every member is read,
            and the endings are those that are known.
        keys: ``sample``: the keys in the shards, which no two shards may share. ``shard``: the shard's name comes before them, for
            shards that begin to count anew.
        check: whether every member that is read is compared with the checksum in the index, where the index has one.
    """

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: Cache = _CACHE,
        fields: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None,
        keys: Literal["sample", "shard"] = "sample",
        check: bool = True,
    ) -> None:
        del context
        self.fields = None if fields is None else {name: _endings(name, wanted) for name, wanted in fields.items()}
        self.keys = keys
        if (path is None) == (url is None):
            raise ValueError("a set of shards has either a path, for files here, or a url, for those of a server")
        self.files: ShardFiles = LocalShards(path) if path is not None else RemoteShards(url or "", cache)
        self.starts = np.cumsum([0, *(len(index) for index in self.files.indexes)])
        if keys == "sample":
            _check_unique(self.files)
        self.reader = Reader(self.files, check=check)
        self._firsts: list[int] = self.starts.tolist()
        self._plans: dict[tuple[int, bytes], list[_Wanted]] = {}

    def __len__(self) -> int:
        return self._firsts[-1]

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """(S,) first sample of every shard that has samples."""
        starts = np.unique(self.starts)
        return starts[starts < len(self)]

    def key(self, index: int) -> str:
        """The sample's key, behind the shard's name if ``keys`` says so."""
        shard, sample = self._place(index)
        key = self.files.indexes[shard].key(sample)
        return key if self.keys == "sample" else f"{PurePosixPath(self.files.names[shard]).with_suffix('')}/{key}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample's values by field.

        Raises:
            OSError: the shard cannot be had or read.
            ValueError: it is shorter than its index says, a member is damaged, or its bytes are not what its ending says.
        """
        shard, sample = self._place(index)
        found = self.files.indexes[shard]
        members = found.members(sample)
        codes = shard, found.endings[members.start : members.stop].tobytes()
        plan = self._plans.get(codes)
        if plan is None:
            plan = self._plans[codes] = self._plan([found.names[found.endings[number]] for number in members])
        read = self.reader(shard, [members.start + wanted.number for wanted in plan])
        values = {wanted.field: value_of(wanted.ending, data) for wanted, data in zip(plan, read, strict=True)}
        if self.fields is None and LABEL not in values:
            folder, slash, _ = found.key(sample).partition("/")
            values |= {LABEL: folder} if slash else {}
        return values

    def known_counts(self, reading: str) -> NDArray[np.int64] | None:
        """(N,) tokens of the samples, if all shards were written with them."""
        indexes = self.files.indexes
        if any(index.reading != reading for index in indexes):
            return None
        return np.concatenate([index.tokens for index in indexes])

    def fingerprint(self) -> str:
        """Digest of the shards' headers, in their order; where they lie does not matter."""
        digest = blake2b(repr((self.keys, self.fields)).encode(), digest_size=16)
        for index in self.files.indexes:
            digest.update(index.headers.encode())
        return digest.hexdigest()

    def _place(self, index: int) -> tuple[int, int]:
        """Shard and number of the sample in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no sample {index} among {len(self)}")
        shard = bisect_right(self._firsts, index) - 1
        return shard, index - self._firsts[shard]

    def _plan(self, endings: Sequence[str]) -> list[_Wanted]:
        """Which of a sample's members are read, by their endings.

        Raises:
            ValueError: two members are the same field.
        """
        if self.fields is not None:
            chosen = {next((e for e in wanted if e in endings), None): name for name, wanted in self.fields.items()}
            return [_Wanted(number, ending, chosen[ending]) for number, ending in enumerate(endings) if ending in chosen]
        plan = [_Wanted(number, ending, field_of(ending)) for number, ending in enumerate(endings)]
        if len({wanted.field for wanted in plan}) < len(plan):
            raise ValueError(f"of its members {', '.join(endings)} two are the same field; say which with data.fields")
        return plan


def _endings(name: str, wanted: Sequence[str]) -> list[str]:
    endings = [ending.removeprefix(".").lower() for ending in wanted]
    if refused := [ending for ending in endings if is_refused(ending)]:
        raise ValueError(f"fields.{name}: members ending in .{refused[0]} may hold pickles, which are never read")
    return endings


def _check_unique(files: ShardFiles) -> None:
    """Raises if two shards share a key."""
    for key, first, second in same_keys(files.indexes):
        raise ValueError(
            f"there is a sample {key} in {files.names[first]} and in {files.names[second]}; if shards count their samples anew "
            "each, set data.keys: shard, else remove one of the two"
        )
