"""What shards are made of: the files of a folder, or the samples of any data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from omnimask.data.walk import walk
from omnimask.errors import UserError
from omnimask.interfaces import Dataset
from omnimask_datasets.shards.encode import encode, key_in_shard
from omnimask_datasets.shards.names import is_refused, split_name

logger = logging.getLogger(f"omnimask.{__name__}")

_NAMED = 3


class Source(Protocol):
    """Samples that can be written."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What they are, for the manifest."""
        ...

    def __len__(self) -> int: ...
    def key(self, index: int) -> str:
        """The sample's key in a shard."""
        ...

    def members(self, index: int) -> Mapping[str, bytes]:
        """Bytes by ending. Raises ``OSError`` or ``ValueError`` for a sample that cannot be read."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the samples are."""
        ...


class FolderSource:
    """The files of a folder: those that differ in their endings alone are one sample. Hidden files are left out.

    Raises:
        UserError: the folder is not there or empty, or holds files that shards may not contain.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"{path} is no folder (looked in {Path.cwd()}); other data are named: name=DATASET")
        try:
            files = sorted(walk(path))
        except ValueError as error:
            raise UserError(str(error)) from error
        self.path = path
        self.samples: dict[str, dict[str, tuple[str, int]]] = {}
        left_out: list[str] = []
        for name, size in files:
            self._add(name, size, left_out)
        if left_out:
            logger.warning("%d files without an ending are left out: %s", len(left_out), _some(left_out))
        if not self.samples:
            raise UserError(f"{path} holds no files with an ending")
        self.keys = list(self.samples)
        self.about = {"folder": path.name}

    def _add(self, name: str, size: int, left_out: list[str]) -> None:
        split = split_name(name)
        if split is None:
            left_out.append(name)
            return
        key, ending = split
        if is_refused(ending):
            raise UserError(f"{self.path / name} may hold a pickle, which shards may not contain; move such files elsewhere")
        if ending == "tar":
            raise UserError(f"{self.path / name} is a tar file; shards are made of other files, and of shards with name=shards")
        members = self.samples.setdefault(key, {})
        if ending in members:
            raise UserError(f"{self.path / name} and {members[ending][0]} would have one name in a shard; rename one of them")
        members[ending] = name, size

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """The path of the sample's files without their endings."""
        return self.keys[index]

    def members(self, index: int) -> dict[str, bytes]:
        """The files' bytes by ending."""
        return {ending: (self.path / name).read_bytes() for ending, (name, _) in self.samples[self.keys[index]].items()}

    def fingerprint(self) -> str:
        """Digest of the files' names and sizes."""
        return _digest(f"{name}\0{size}" for members in self.samples.values() for name, size in members.values())


class DatasetSource:
    """The samples of a data set; ``name`` is the component's.

    Raises:
        UserError: two samples would have the same key in a shard.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.about = dataset, {"dataset": name}
        seen: dict[str, str] = {}
        for index in range(len(dataset)):
            key = dataset.key(index)
            try:
                here = key_in_shard(key)
            except ValueError as error:
                raise UserError(str(error)) from error
            if here in seen:
                raise UserError(
                    f"the samples {seen[here]!r} and {key!r} would both be called {here!r} in a shard; rename one of them"
                )
            seen[here] = key
        self.keys = list(seen)

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """The sample's key, as members can have it."""
        return self.keys[index]

    def members(self, index: int) -> dict[str, bytes]:
        """The sample's fields, written."""
        return encode(self.dataset.key(index), self.dataset[index])

    def fingerprint(self) -> str:
        """That of the data set."""
        return self.dataset.fingerprint()


def _digest(texts: Iterable[str]) -> str:
    digest = blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
