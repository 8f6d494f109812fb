"""``manifest.json``: the list of a data set's shards, which reveals missing, foreign and damaged ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """One shard: ``name`` (path relative to the manifest's folder), bytes, samples, and digests of the file and of its headers."""

    name: str
    size: int
    samples: int
    sha256: str
    headers: str


@dataclass(frozen=True)
class ShardManifest:
    """Shards of a data set in order; ``source`` describes their origin."""

    shards: Sequence[ShardEntry]
    source: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        totals = {"samples": sum(entry.samples for entry in self.shards), "bytes": sum(entry.size for entry in self.shards)}
        shards = [asdict(entry) for entry in self.shards]
        return (json.dumps({"format": FORMAT, **totals, "source": self.source, "shards": shards}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, place: str) -> ShardManifest:
        """Parse the content of the file ``place``.

        Raises:
            ValueError: the content is damaged, in an unsupported format, or names files outside its folder.
        """
        try:
            content: Any = json.loads(data)
            if content["format"] != FORMAT:
                raise ValueError(f"it has format {content['format']}, but this version reads {FORMAT}")
            shards = [_entry(raw) for raw in content["shards"]]
            if len({entry.name for entry in shards}) < len(shards):
                raise ValueError("duplicate shard")
            return cls(shards, content.get("source", {}))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{place} cannot be used: {type(error).__name__}: {error}") from error


def _entry(raw: Mapping[str, Any]) -> ShardEntry:
    entry = ShardEntry(**raw)
    texts, numbers = (entry.name, entry.sha256, entry.headers), (entry.size, entry.samples)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"invalid entry {dict(raw)}")
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".tar" or str(path) != entry.name or "\\" in entry.name:
        raise ValueError(f"invalid shard name {entry.name!r}")
    return entry
