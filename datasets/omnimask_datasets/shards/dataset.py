"""Data set ``shards``: samples of indexed tar files, read in random order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.files import files_state
from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.folder_labels import SPLITS, FolderLabels
from omnimask_datasets.rows import LABEL
from omnimask_datasets.shards.index import same_keys
from omnimask_datasets.shards.local import LocalShards
from omnimask_datasets.shards.names import decoder_of, field_of, is_refused
from omnimask_datasets.shards.reader import MemberReader, ShardFiles
from omnimask_datasets.shards.remote import RemoteShards
from omnimask_datasets.sources import CACHE


class _ReadPlan(NamedTuple):
    """Members to read of samples with the same endings: their numbers, fields and decoders."""

    numbers: list[int]
    fields: list[tuple[str, Callable[[bytes], Any] | None]]


class _ShardLayout(NamedTuple):
    """Layout of a shard: whether its keys may contain folders as labels, and the plan shared by all of its samples.

    The plan is None unless all samples have the same ``num_members`` members.
    """

    may_label: bool
    num_members: int
    plan: _ReadPlan | None


class Shards:
    """Samples of tar files in WebDataset form: consecutive members ``KEY.ENDING`` with one key form a sample.

    Shards have an index, beside them or in the cache, which is created on first use. Every sample is thus a single read at a known
    place. The order of an epoch permutes the shards, and the samples within windows (``data.window``).

    A member's ending determines its field (``jpg`` is ``image``, ``left.jpg`` is ``left``) and its value: ``.cls`` is a number,
    ``.json`` its JSON value, ``.npy`` an array. Anything else stays ``bytes`` for the modality's decoder. Nothing is ever
    unpickled: shards with members that may contain pickles are refused, and so are links, devices, and names that lead out of a
    folder. A sample without a label gets the first folder of its key, if any (the second if all first ones are named train, val,
    test or similar).

    Args:
        path: a folder with tar files and optionally their ``manifest.json``; or one tar file.
        url: instead of a path, a URL for ``fsspec``: a folder on a server (``https://host/folder``, ``s3://bucket/folder``) that
            has a ``manifest.json`` or lists its files, or tar files (``https://host/a-{000..123}.tar``). Shards are copied into a
            cache on their first read; those without an index beside them, at the start.
        cache: location of the copies, timeouts and retries.
        fields: endings of each field. The first ending that a sample has is read, and nothing else. null: every member is read,
            with the known endings.
        keys: ``sample``: the keys in the shards, which must be unique among all shards. ``shard``: the keys are prefixed with the
            shard's name, for shards that restart their numbering.
        follow_links: whether to follow links to folders outside of ``path``. Links to files are always followed.
        check: whether to compare every member with its checksum in the index, if the index has one.
    """

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: CacheOptions = CACHE,
        fields: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None,
        keys: Literal["sample", "shard"] = "sample",
        check: bool = True,
        follow_links: bool = False,
    ) -> None:
        del context
        self.fields = None if fields is None else {name: _endings(name, wanted) for name, wanted in fields.items()}
        self.keys = keys
        if (path is None) == (url is None):
            raise ValueError("shards need either path (local files) or url (of a server)")
        self.files: ShardFiles = (
            LocalShards(path, follow_links=follow_links) if path is not None else RemoteShards(url or "", cache)
        )
        self.starts = np.cumsum([0, *(len(index) for index in self.files.indexes)])
        if keys == "sample":
            _check_unique(self.files)
        self.labels = FolderLabels(self._split_keys(), path or url)
        self.reader = MemberReader(self.files, check=check)
        self._firsts: list[int] = self.starts.tolist()
        self._plans: dict[tuple[str, ...], _ReadPlan] = {}
        self._layouts: dict[int, _ShardLayout] = {}

    def __len__(self) -> int:
        return self._firsts[-1]

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """Return (S,) the first sample of every nonempty shard."""
        starts = np.unique(self.starts)
        return starts[starts < len(self)]

    def key(self, index: int) -> str:
        """Return the sample's key, after the shard's name with ``keys: shard``."""
        shard, sample = self._place(index)
        key = self.files.indexes[shard].key(sample)
        return key if self.keys == "sample" else f"{PurePosixPath(self.files.names[shard]).with_suffix('')}/{key}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the sample's values by field.

        Raises:
            OSError: the shard cannot be loaded or read.
            ValueError: the shard is shorter than in its index, a member is damaged, or its bytes do not match its ending.
        """
        shard, sample = self._place(index)
        layout = self._layouts.get(shard)
        if layout is None:
            layout = self._layouts[shard] = self._layout(shard)
        if layout.plan is None:
            members = self.files.indexes[shard].members(sample)
            first, plan = members.start, self._plan_of(shard, members)
        else:
            first, plan = sample * layout.num_members, layout.plan
        read = self.reader(shard, first, plan.numbers)
        values = {field: data if decode is None else decode(data) for (field, decode), data in zip(plan.fields, read, strict=True)}
        if layout.may_label and LABEL not in values:
            label = self.labels(self.files.indexes[shard].key(sample))
            values |= {} if label is None else {LABEL: label}
        return values

    def known_counts(self, reading: str) -> NDArray[np.int64] | None:
        """Return (N,) tokens of the samples, if all shards were written with this ``reading``."""
        indexes = self.files.indexes
        if any(index.reading != reading for index in indexes):
            return None
        return np.concatenate([index.tokens for index in indexes])

    def fingerprint(self) -> str:
        """Return a digest of the shards' headers, and of their contents if their indexes know them, in order.

        The shards' location does not affect it.
        """
        digest = blake2b(repr((self.keys, self.fields)).encode(), digest_size=16)
        for index in self.files.indexes:
            digest.update(f"{index.headers}{index.sha256}".encode())
        return digest.hexdigest()

    def state(self) -> str:
        """Return a digest of the locations, sizes and times of local shards. Return an empty string for remote ones."""
        return files_state(self.files.paths.values()) if isinstance(self.files, LocalShards) else ""

    def _split_keys(self) -> Iterable[str]:
        """Return the keys for :class:`FolderLabels`: all if their first folders are splits, otherwise none, since they are many."""
        if self.fields is not None:
            return ()
        keys = [index.key(sample) for index in self.files.indexes for sample in range(min(1, len(index)))]
        if not all(_is_split(key) for key in keys):
            return ()
        keys = (index.key(sample) for index in self.files.indexes for sample in range(len(index)))
        return found if all(map(_is_split, found := list(keys))) else ()

    def _place(self, index: int) -> tuple[int, int]:
        """Return the shard and the sample's number in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        shard = bisect_right(self._firsts, index) - 1
        return shard, index - self._firsts[shard]

    def _layout(self, shard: int) -> _ShardLayout:
        index = self.files.indexes[shard]
        may_label = self.fields is None and b"/" in index.keys.tobytes()
        members = index.members(0)
        is_uniform = np.array_equal(index.member_ends, len(members) * np.arange(1, len(index) + 1)) and np.array_equal(
            index.endings, np.tile(index.endings[: len(members)], len(index))
        )
        return _ShardLayout(may_label, len(members), self._plan_of(shard, members) if is_uniform else None)

    def _plan_of(self, shard: int, members: range) -> _ReadPlan:
        index = self.files.indexes[shard]
        endings = tuple(index.names[code] for code in index.endings[members.start : members.stop])
        if endings not in self._plans:
            self._plans[endings] = self._plan(endings)
        return self._plans[endings]

    def _plan(self, endings: Sequence[str]) -> _ReadPlan:
        """Select the members of a sample to read, by their endings.

        Raises:
            ValueError: two members map to the same field.
        """
        if self.fields is not None:
            chosen = {next((e for e in wanted if e in endings), None): name for name, wanted in self.fields.items()}
            numbers = [number for number, ending in enumerate(endings) if ending in chosen]
            return _ReadPlan(numbers, [(chosen[endings[number]], decoder_of(endings[number])) for number in numbers])
        fields = [field_of(ending) for ending in endings]
        if len(set(fields)) < len(fields):
            raise ValueError(f"of its members {', '.join(endings)} two map to the same field; choose one with data.fields")
        return _ReadPlan(list(range(len(fields))), list(zip(fields, map(decoder_of, endings), strict=True)))


def _is_split(key: str) -> bool:
    """Return whether a key's first folder is named like a side of a split."""
    folder, slash, _ = key.partition("/")
    return bool(slash) and folder.lower() in SPLITS


def _endings(name: str, wanted: Sequence[str]) -> list[str]:
    endings = [ending.removeprefix(".").lower() for ending in wanted]
    if refused := [ending for ending in endings if is_refused(ending)]:
        raise ValueError(f"fields.{name}: members ending in .{refused[0]} may contain pickles, which are never read")
    return endings


def _check_unique(files: ShardFiles) -> None:
    """Raise ``ValueError`` if two shards share a key."""
    for key, first, second in same_keys(files.indexes):
        raise ValueError(
            f"duplicate sample {key} in {files.names[first]} and {files.names[second]}; if every shard numbers "
            "its samples from 0, set data.keys: shard, else remove one of the two"
        )
