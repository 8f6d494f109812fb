"""``manifest.json``: which shards make up a data set, so that a missing, a foreign and a damaged one are found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """One shard: its ``name`` (a path relative to the manifest's folder), bytes, samples, and digests of all and of its headers."""

    name: str
    size: int
    samples: int
    sha256: str
    headers: str


@dataclass(frozen=True)
class Manifest:
    """The shards of a data set in their order; ``source`` says what they were made of."""

    shards: Sequence[Entry]
    source: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The file's content."""
        totals = {"samples": sum(entry.samples for entry in self.shards), "bytes": sum(entry.size for entry in self.shards)}
        shards = [asdict(entry) for entry in self.shards]
        return (json.dumps({"format": FORMAT, **totals, "source": self.source, "shards": shards}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, place: str) -> Manifest:
        """Reads the content of the file that ``place`` names.

        Raises:
            ValueError: it is damaged, of another format, or names files outside its folder.
        """
        try:
            content: Any = json.loads(data)
            if content["format"] != FORMAT:
                raise ValueError(f"it has format {content['format']}, and this version reads {FORMAT}")
            shards = [_entry(raw) for raw in content["shards"]]
            if len({entry.name for entry in shards}) < len(shards):
                raise ValueError("it names a shard twice")
            return cls(shards, content.get("source", {}))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{place} cannot be used: {type(error).__name__}: {error}") from error


def _entry(raw: Mapping[str, Any]) -> Entry:
    entry = Entry(**raw)
    texts, numbers = (entry.name, entry.sha256, entry.headers), (entry.size, entry.samples)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"an entry is {dict(raw)}")
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".tar" or str(path) != entry.name or "\\" in entry.name:
        raise ValueError(f"the name of a shard is {entry.name!r}")
    return entry
