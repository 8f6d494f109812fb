"""Verification of shards: reads every byte, and reports all problems."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnimask_datasets.shards import manifest
from omnimask_datasets.shards.index import IndexBuilder, ShardIndex, read_index, same_keys, with_content
from omnimask_datasets.shards.local import beside, find_shards, read_manifest
from omnimask_datasets.shards.manifest import ShardEntry
from omnimask_datasets.shards.tar_headers import Problem, Walk

logger = logging.getLogger(f"omnimask.{__name__}")

_SECONDS = 10.0


@dataclass(frozen=True)
class ShardFinding:
    """Problem of a shard: its kind, the byte (None: the whole shard), and a message."""

    shard: str
    kind: str
    byte: int | None
    message: str


@dataclass(frozen=True)
class VerificationReport:
    """Numbers of shards, samples and bytes read, and the findings."""

    shards: int
    samples: int
    bytes: int
    findings: Sequence[ShardFinding]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def verify(path: Path, *, may_share_keys: bool = False) -> VerificationReport:
    """Read all shards of a folder, or one shard, and report their problems.

    Args:
        path: the folder, or a tar file.
        may_share_keys: whether two shards may contain samples with the same key.

    Raises:
        ValueError: there are no shards, or the manifest cannot be read.
    """
    listed = read_manifest(path)
    entries = {} if listed is None else {entry.name: entry for entry in listed.shards}
    paths = find_shards(path) if not entries or any(path.rglob("*.tar")) else {}
    findings = [ShardFinding(name, "missing shard", None, f"{manifest.NAME} lists it") for name in entries if name not in paths]
    indexes: dict[str, ShardIndex] = {}
    last = time.monotonic()
    for name, place in paths.items():
        try:
            found, indexes[name] = _look_at(place, name, entries.get(name), has_manifest=listed is not None)
            findings += found
        except OSError as error:
            findings.append(ShardFinding(name, "unreadable", None, error.strerror or str(error)))
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            logger.info("%d of %d shards are read", len(indexes), len(paths))
    if not may_share_keys:
        findings += shared_keys(indexes)
    samples, size = sum(map(len, indexes.values())), sum(index.size for index in indexes.values())
    return VerificationReport(len(paths), samples, size, findings)


def shared_keys(indexes: Mapping[str, ShardIndex]) -> list[ShardFinding]:
    """Return samples whose key also occurs in an earlier shard."""
    names = list(indexes)
    return [
        ShardFinding(names[second], "duplicate across shards", None, f"sample {key} is also in {names[first]}")
        for key, first, second in same_keys(list(indexes.values()))
    ]


def _look_at(path: Path, name: str, entry: ShardEntry | None, *, has_manifest: bool) -> tuple[list[ShardFinding], ShardIndex]:
    """Return the problems of one shard, and the index of the samples found."""
    problems, index = _walk(path)
    findings = [ShardFinding(name, problem.kind, problem.offset, problem.message) for problem in problems]
    index = with_content(index, path)
    if entry is None and has_manifest:
        findings.append(ShardFinding(name, "foreign shard", None, f"{manifest.NAME} does not list it"))
    elif entry is not None and index.size != entry.size:
        findings.append(ShardFinding(name, "other size", None, f"{index.size:,} bytes, but {entry.size:,} in {manifest.NAME}"))
    elif entry is not None and index.sha256 != entry.sha256:
        findings.append(ShardFinding(name, "other content", None, f"its sha256 differs from {manifest.NAME}"))
    return findings + _compared(name, index, beside(path)), index


def _walk(path: Path) -> tuple[list[Problem], ShardIndex]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        walk, builder = Walk(descriptor), IndexBuilder()
        found = [item if isinstance(item, Problem) else builder.add(item) for item in walk]
        problems = [item for item in found if item is not None]
        return problems, builder.index(walk.size, os.fstat(descriptor).st_mtime_ns, walk.headers)
    finally:
        os.close(descriptor)


def _compared(name: str, index: ShardIndex, place: Path) -> list[ShardFinding]:
    """Return contradictions between a shard and the index beside it."""
    try:
        before = read_index(place)
    except (OSError, ValueError) as error:
        return [ShardFinding(name, "damaged index", None, str(error))]
    if before is None:
        return []
    if before.headers != index.headers:
        return [ShardFinding(name, "other index", None, "the index beside it has other members; delete it to recreate it")]
    if not len(before.checksums):
        return []
    damaged = np.flatnonzero(before.checksums != index.checksums).tolist()
    owner = np.searchsorted(index.member_ends, damaged, side="right").tolist()
    return [
        ShardFinding(
            name,
            "damaged member",
            int(index.offsets[number]),
            f"{index.key(sample)}.{index.names[index.endings[number]]}: checksum mismatch with the index",
        )
        for number, sample in zip(damaged, owner, strict=True)
    ]
