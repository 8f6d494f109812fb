"""Writing of shards into a temporary folder, which is renamed when complete. An interrupted command continues."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.errors import RunStopped, UserError
from omnimask.files import of_one_sample
from omnimask_datasets.shards import manifest
from omnimask_datasets.shards.index import ShardIndex, make_index, read_index, with_content
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.manifest import ShardEntry, ShardManifest
from omnimask_datasets.shards.sources import SampleSource

logger = logging.getLogger(f"omnimask.{__name__}")

_PARTIAL = ".partial"
_PLAN, _LOCK = "plan.json", "lock"
_NAME = "shard-%06d.tar"
_SECONDS = 10.0
_END = 2 * tarfile.BLOCKSIZE

Counter = Callable[[Path, Sequence[ShardIndex]], Sequence[ShardIndex]]
"""Adds token counts of samples to the indexes of the shards in a folder."""


@dataclass(frozen=True)
class Limits:
    """Limits of one shard: most samples, and most bytes of the tar file unless a single sample is larger.

    ``seed`` determines the order; None: the source's order.
    """

    most_bytes: int
    most_samples: int
    seed: int | None


def write_shards(source: SampleSource, out: Path, limits: Limits, count: Counter | None = None) -> ShardManifest:
    """Write all samples of a source. The folder ``out`` is complete or absent.

    After an interruption, finished shards remain in ``out.partial``: the same call continues after the last complete one.

    Raises:
        UserError: ``out`` exists, or ``out.partial`` belongs to other samples or is in use.
        RunStopped: a sample cannot be read, or the disk cannot be written.
    """
    check_out(out)
    partial = out.with_name(out.name + _PARTIAL)
    order = _order(len(source), limits.seed)
    if len(order) and not partial.exists():
        _check_first(source, int(order[0]))
    plan = {"format": manifest.FORMAT, "source": source.fingerprint(), "samples": len(source), **asdict(limits)}
    try:
        partial.mkdir(exist_ok=True)
        with _locked(partial):
            _check_plan(partial, plan)
            indexes = _finished(partial)
            indexes += _write_rest(source, partial, order, limits, indexes)
            if count is not None:
                indexes = list(count(partial, indexes))
            listed = ShardManifest(
                [_entry(number, index) for number, index in enumerate(indexes)], {**source.about, "seed": limits.seed}
            )
            _publish(partial, out, listed)
    except OSError as error:
        raise RunStopped(
            f"the shards cannot be written: {error}. Complete ones are in {partial}; fix the cause, and run the "
            "same command to continue"
        ) from error
    return listed


def check_out(out: Path) -> None:
    """Raise ``UserError`` if the folder exists or cannot be created."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists; choose another folder, or remove it first")
    if not out.absolute().parent.is_dir():
        raise UserError(f"folder {out.absolute().parent} of {out.name} does not exist")


def _check_first(source: SampleSource, index: int) -> None:
    """Raise ``UserError`` if the first sample cannot be written, before anything is written."""
    try:
        with of_one_sample:
            source.members(index)
    except (OSError, ValueError) as error:
        raise UserError(f"sample {source.key(index)!r} cannot be read: {error}") from error


def _check_plan(partial: Path, plan: Mapping[str, Any]) -> None:
    place = partial / _PLAN
    if not place.exists():
        place.write_text(json.dumps(plan), encoding="utf-8")
    try:
        before = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if before != plan:
        raise UserError(f"{partial} contains shards of other data or options; use the same ones to continue, or remove the folder")


def _finished(partial: Path) -> list[ShardIndex]:
    """Return the complete shards of an earlier attempt, and remove incomplete ones."""
    for path in (*partial.glob("*.tmp"), *partial.glob(".*")):
        path.unlink()
    indexes: list[ShardIndex] = []
    while (path := partial / (_NAME % len(indexes))).exists():
        try:
            index = read_index(beside(path))
        except ValueError:
            index = None
        if index is None:
            path.unlink()
            break
        indexes.append(index)
    if indexes:
        logger.info("%d shards exist already, with %d samples", len(indexes), sum(map(len, indexes)))
    return indexes


def _order(num_samples: int, seed: int | None) -> NDArray[np.int64]:
    if seed is None:
        return np.arange(num_samples)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).permutation(num_samples)


def _write_rest(
    source: SampleSource, partial: Path, order: NDArray[np.int64], limits: Limits, before: Sequence[ShardIndex]
) -> list[ShardIndex]:
    indexes: list[ShardIndex] = []
    samples = _Samples(source, order[sum(map(len, before)) :].tolist())
    while samples.is_left:
        path = partial / (_NAME % (len(before) + len(indexes)))
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            _write_shard(file, samples, limits)
            file.flush()
            os.fsync(file.fileno())
        index = with_content(make_index(part, path.name), part)
        part.replace(path)
        write_index(beside(path), index)
        indexes.append(index)
    return indexes


class _Samples:
    """Remaining samples, read one ahead."""

    def __init__(self, source: SampleSource, order: Sequence[int]) -> None:
        self._source, self._order, self._last = source, order, time.monotonic()
        self._done = 0
        self.next = self._read()

    @property
    def is_left(self) -> bool:
        return self.next is not None

    def advance(self) -> None:
        self._done += 1
        self.next = self._read()
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            logger.info("%d of %d samples are written", self._done, len(self._order))

    def _read(self) -> tuple[str, Mapping[str, bytes]] | None:
        if self._done == len(self._order):
            return None
        index = self._order[self._done]
        key = self._source.key(index)
        try:
            with of_one_sample:
                members = self._source.members(index)
        except (OSError, ValueError) as error:
            raise RunStopped(
                f"sample {key} cannot be read: {error}. Fix it and run the same command to continue after the "
                "last complete shard; or remove it, and start again"
            ) from error
        return key, members


def _write_shard(file: Any, samples: _Samples, limits: Limits) -> None:
    with _writer(file) as writer:
        count, size = 0, 0
        while samples.next is not None and count < limits.most_samples:
            key, members = samples.next
            added = sum(_size(f"{key}.{ending}", len(data)) for ending, data in members.items())
            if count and _rounded(size + added + _END) > limits.most_bytes:
                break
            writer.write({"__key__": key, **members})
            count, size = count + 1, size + added
            samples.advance()


def _writer(file: Any) -> Any:
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise UserError("writing shards needs webdataset, which is not installed: pip install 'omnimask[shards]'") from error
    return TarWriter(file, encoder=False, user="", group="", mtime=0)


def _size(name: str, size: int) -> int:
    """Return the size of a member in a tar file, in bytes."""
    header = len(tarfile.TarInfo(name).tobuf(tarfile.DEFAULT_FORMAT))
    return header + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _rounded(size: int) -> int:
    return -(-size // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _entry(number: int, index: ShardIndex) -> ShardEntry:
    return ShardEntry(_NAME % number, index.size, len(index), index.sha256, index.headers)


def _publish(partial: Path, out: Path, listed: ShardManifest) -> None:
    (partial / manifest.NAME).write_bytes(listed.to_bytes())
    for path in (*partial.iterdir(), partial):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    partial.rename(out)
    for name in (_PLAN, _LOCK):
        (out / name).unlink()


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[None]:
    with (partial / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is writing to {partial}; wait for it, or stop it") from error
        yield
