"""Index of the parts of samples too long for a network, found once by scanning the data set, and mapped from disk."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, data_key
from omnimask.data import scans
from omnimask.data.column_files import compact, join_columns, read_columns
from omnimask.data.fields import decoded, names_of, raw_value, required_value
from omnimask.data.order import reading_processes
from omnimask.data.raw_digest import digest_of, memory_of
from omnimask.data.sample_errors import of_one_sample, reason_of
from omnimask.data.sample_reads import read_samples
from omnimask.data.scans import Columns, RangeScan
from omnimask.data.token_counts import ModalityReader
from omnimask.interfaces import Dataset, Splits, SplitsMany

logger = logging.getLogger(__name__)

UNREADABLE = -1
"""Start of the only part of a sample that could not be read."""
_FORMAT = 3
_NAMED = 3
"""Number of samples whose reasons a warning contains."""
_HASHED = 1 << 20
"""Parts in a block of the fingerprint's input."""
MANY, _BYTES = 1024, 1 << 24
"""Samples to split at once, and bytes of them."""
_FEW, _ENOUGH = 64, 1 << 16
"""Most samples to estimate tokens from, and tokens that are enough."""
_TOKENS = 1 << 20
"""Tokens of a range: some seconds of work, and some ten megabytes."""
_COPIED = ("start", "size", "tokens", "digest", "unreadable")


@dataclass(frozen=True)
class PartIndex:
    """Location of N parts of S samples, in the order of the samples. Columns have the smallest unsigned type that holds them.

    ``first`` (S + 1,) number of each sample's first part, then N. ``start`` (N,) and ``size`` (N,) are in the tokenizer's units.
    ``tokens`` (N,) of each part. ``digest`` (S,) of each whole sample. ``unreadable`` (U,) ascending numbers of the samples that
    could not be read: each is one part, of 1 token.
    """

    first: NDArray[Any]
    start: NDArray[Any]
    size: NDArray[Any]
    tokens: NDArray[Any]
    digest: NDArray[Any]
    unreadable: NDArray[Any]

    def __len__(self) -> int:
        return len(self.start)

    @staticmethod
    def of(columns: Columns) -> PartIndex:
        """Return the index among columns by name."""
        return PartIndex(**{name: columns[name] for name in ("first", *_COPIED)})

    @property
    def num_samples(self) -> int:
        return len(self.digest)

    def sample(self, part: int) -> int:
        """Return the sample of a part."""
        if not 0 <= part < len(self):
            raise IndexError(f"part {part} is out of range for {len(self)} parts")
        # A number of another type would make NumPy copy the whole column.
        return int(self.first.searchsorted(self.first.dtype.type(part), side="right")) - 1

    def is_alone(self, sample: int) -> bool:
        """Return whether a sample has one part only."""
        return int(self.first[sample + 1]) - int(self.first[sample]) == 1

    def bounds(self, part: int, sample: int) -> tuple[int, int]:
        """Return (start, stop) of a part of a sample; both :data:`UNREADABLE` if it could not be read."""
        if self.is_unreadable(sample):
            return UNREADABLE, UNREADABLE
        start = int(self.start[part])
        return start, start + int(self.size[part])

    def is_unreadable(self, sample: int) -> bool:
        if not len(self.unreadable):
            return False
        place = int(np.searchsorted(self.unreadable, sample))
        return place < len(self.unreadable) and int(self.unreadable[place]) == sample

    def update(self, digest: blake2b) -> None:
        """Add the location of the parts to a digest: the int64 columns of sample, start, stop and tokens, one after another."""
        bad = self.first[self.unreadable.astype(np.int64)].astype(np.int64)  # (U,) their parts
        for column in range(4):
            for begin in range(0, len(self), _HASHED):
                digest.update(self._block(column, begin, bad).tobytes())

    def _block(self, column: int, begin: int, bad: NDArray[np.int64]) -> NDArray[np.int64]:
        stop = min(begin + _HASHED, len(self))
        if column == 0:
            samples = np.arange(self.sample(begin), self.sample(stop - 1) + 1)
            bounds = np.clip(self.first[samples[0] : samples[-1] + 2].astype(np.int64), begin, stop)
            return np.repeat(samples, np.diff(bounds))
        if column == 3:
            return self.tokens[begin:stop].astype(np.int64)
        values = self.start[begin:stop].astype(np.int64)
        if column == 2:
            values += self.size[begin:stop]
        values[bad[(bad >= begin) & (bad < stop)] - begin] = UNREADABLE
        return values


def few_samples(dataset: Dataset) -> Sequence[int]:
    """Return the samples to estimate tokens from: evenly spaced ones, or the first ones if the data set is read in order."""
    total, count = len(dataset), min(len(dataset), _FEW)
    return range(count) if reading_processes(dataset) == 1 else [number * total // count for number in range(count)]


def mean_tokens(counts: Iterable[int]) -> float:
    """Return the mean of the first numbers of tokens, until enough are seen; 1 if there are none."""
    seen = samples = 0
    for count in counts:
        seen, samples = seen + count, samples + 1
        if seen >= _ENOUGH:
            break
    return seen / samples if seen else 1.0


def samples_per_range(tokens: float) -> int:
    """Return the number of samples of a range, of at most about a million tokens, if a sample has ``tokens`` on average."""
    return max(1, min(scans.RANGE, int(_TOKENS / tokens)))


def list_parts(dataset: Dataset, reader: ModalityReader, *, options: str = "", cache: Path | None = None) -> PartIndex:
    """Return the parts of all samples, from the cache or by reading every sample once, in several processes if there are many.

    Args:
        dataset: the whole samples.
        reader: reads them; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        options: other options affecting the parts, as text for the cache's key.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Raises:
        RunStopped: a worker process died.
    """
    key = blake2b(repr((_FORMAT, data_key(dataset), len(dataset), options)).encode(), digest_size=16).hexdigest()
    folder = (cache or cache_folder()) / "parts" / key
    index = _kept(folder, len(dataset))
    if index is not None:
        return _repaired(dataset, reader, index, folder) if len(index.unreadable) else index
    logger.info("listing the parts of %d samples; later runs reuse the list", len(dataset))
    # A few samples are one range, however long: only their parts are kept.
    few = (split_samples(dataset, reader, [number]) for number in few_samples(dataset) if len(dataset) > _FEW)
    tokens = mean_tokens(sum(part[2] for part in parts) for ((*_, parts),) in few if not isinstance(parts, Exception))
    size = samples_per_range(tokens)
    ranges = folder.with_name(f"{key}.ranges-{size}")  # ranges of another size, from another estimate, are not continued
    work, processes = partial(_parts_of_range, dataset, reader), reading_processes(dataset)
    scan = RangeScan(work, len(dataset), ranges, "listing parts", size, processes=processes)
    scan.run()
    warn_of_unreadable(dataset, scan)
    index = PartIndex(**join_columns(lambda: numbered(scan), folder, "parts"))
    scan.remove()
    if num_empty := int(np.count_nonzero(np.diff(index.first.astype(np.int64)) == 0)):
        logger.info("skipping %d of %d samples, which are empty", num_empty, len(dataset))
    logger.info("%d samples have %d parts with %d tokens", len(dataset), len(index), int(index.tokens.sum(dtype=np.int64)))
    return index


def scan_parts(dataset: Dataset, reader: ModalityReader) -> PartIndex:
    """List the parts of a few samples, without a cache."""
    return _in_memory(dataset, [_parts_of_range(dataset, reader, range(len(dataset)))])


def _in_memory(dataset: Dataset, found: Sequence[Columns]) -> PartIndex:
    warn_of_unreadable(dataset, found)
    parts = list(numbered(found))
    return PartIndex(**{name: compact(np.concatenate([part[name] for part in parts])) for name in parts[0]})


def numbered(found: Iterable[Columns], also: Sequence[str] = ()) -> Iterator[Columns]:
    """Yield the columns of the index, from the :func:`part_columns` of consecutive ranges of samples.

    Args:
        found: the columns of each range.
        also: names of other columns to copy.
    """
    total, copied = 0, (*_COPIED, *also)
    for columns in found:
        ends = total + np.cumsum(columns["parts"], dtype=np.int64)
        first = ends - columns["parts"].astype(np.int64)
        total = int(ends[-1]) if len(ends) else total
        yield {"first": first, **{name: columns[name] for name in copied}}
    yield {"first": np.array([total]), **{name: np.zeros(0, np.int64) for name in copied}}


def _parts_of_range(dataset: Dataset, reader: ModalityReader, numbers: Iterable[int]) -> Columns:
    return part_columns(dataset, split_samples(dataset, reader, numbers))


def part_columns(dataset: Dataset, found: Iterable[tuple[int, Any, Sequence[tuple[int, int, int]] | Exception]]) -> Columns:
    """Return the columns of some samples, and the reasons why samples are unreadable.

    Args:
        dataset: the whole samples.
        found: see :func:`split_samples`.
    """
    parts: list[Sequence[tuple[int, int, int]]] = []
    digests: list[int] = []
    unreadable: list[int] = []
    reasons: list[str] = []
    for number, raw, each in found:
        if isinstance(each, Exception):
            unreadable.append(number)
            reasons.append(f"{dataset.key(number)}: {reason_of(each)}")
            each = [(0, 0, 1)]
        parts.append(each)
        digests.append(0 if raw is None else digest_of(raw))
    start, stop, tokens = np.array([part for each in parts for part in each], np.int64).reshape(-1, 3).T
    return {
        "parts": compact([len(each) for each in parts]),
        "start": compact(start),
        "size": compact(stop - start),
        "tokens": compact(tokens),
        "digest": np.array(digests, np.uint32),
        "unreadable": np.array(unreadable, np.int64),
        "reasons": np.array(reasons, np.str_),
    }


def split_samples(
    dataset: Dataset, reader: ModalityReader, numbers: Iterable[int]
) -> Iterator[tuple[int, Any, Sequence[tuple[int, int, int]] | Exception]]:
    """Yield the number, the decoded raw value and the parts of each sample, many at a time if the tokenizer can.

    An empty sample has the value None and no parts. An unreadable one has the value None and its exception instead of parts.
    """
    tokenizer = cast(Splits, reader.tokenizer)
    most = MANY if isinstance(tokenizer, SplitsMany) else 1
    for read in chunks_of(_decoded(dataset, reader, numbers), most):
        values = [raw for _, raw in read if not (raw is None or isinstance(raw, Exception))]
        found = iter(_split(tokenizer, values))
        for number, raw in read:
            if raw is None:
                yield number, None, ()
            elif isinstance(raw, Exception):
                yield number, None, raw
            else:
                parts = next(found)
                yield number, None if isinstance(parts, Exception) else raw, parts


def _split(tokenizer: Splits, values: Sequence[Any]) -> Sequence[Sequence[tuple[int, int, int]] | Exception]:
    """Return the parts of each value, or its exception."""
    if len(values) > 1 and isinstance(tokenizer, SplitsMany):
        with contextlib.suppress(OSError, ValueError), of_one_sample:
            return tokenizer.split_many(values)
    found: list[Sequence[tuple[int, int, int]] | Exception] = []
    for value in values:
        try:
            with of_one_sample:
                found.append(tokenizer.split(value))
        except (OSError, ValueError) as error:
            found.append(error)
    return found


def _decoded(dataset: Dataset, reader: ModalityReader, numbers: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the decoded raw value of each sample: None if it is empty, an exception if it is unreadable."""
    for number, value in read_samples(dataset, list(numbers)):
        if not isinstance(value, Exception):
            try:
                with of_one_sample:
                    value = _raw_value(value, reader)
            except (OSError, ValueError) as error:
                value = error
        yield number, value


def _raw_value(sample: Mapping[str, Any], reader: ModalityReader) -> Any:
    if names_of(reader.field)[0] in sample and raw_value(sample, reader.field) is None:
        return None
    return decoded(required_value(sample, reader.field), reader.decoder)


def chunks_of(
    read: Iterable[tuple[int, Any]], most: int = MANY, size_of: Callable[[Any], int] = memory_of
) -> Iterator[list[tuple[int, Any]]]:
    """Yield lists of at most ``most`` numbered values and about 16 MiB."""
    chunk: list[tuple[int, Any]] = []
    size = 0
    for item in read:
        chunk.append(item)
        size += size_of(item[1])
        if len(chunk) >= most or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _repaired(dataset: Dataset, reader: ModalityReader, index: PartIndex, folder: Path) -> PartIndex:
    """Try the unreadable samples of a cached index again. If some are readable by now, replace the index."""
    again: list[int] = index.unreadable.astype(np.int64).tolist()
    found = _parts_of_range(dataset, reader, again)
    warn_of_unreadable(dataset, [found])
    if len(found["unreadable"]) == len(again):
        return index
    return PartIndex(**join_columns(lambda: numbered(_replaced(index, again, found)), folder, "parts"))


def _replaced(index: PartIndex, samples: Sequence[int], found: Columns) -> Iterator[Columns]:
    """Yield the columns of an index, with those of some samples replaced."""
    fresh = PartIndex(**{**next(numbered([found])), "first": np.concatenate([[0], np.cumsum(found["parts"], dtype=np.int64)])})
    bad = set(found["unreadable"].tolist())
    following = 0
    for number, sample in enumerate(samples):
        yield _some(index, following, sample)
        yield {**_some(fresh, number, number + 1), "unreadable": np.array([sample] if sample in bad else [], np.int64)}
        following = sample + 1
    yield _some(index, following, index.num_samples)


def _some(index: PartIndex, begin: int, end: int) -> Columns:
    """Return the columns of the readable samples ``[begin, end)``."""
    first = index.first[begin : end + 1].astype(np.int64)
    parts = slice(int(first[0]), int(first[-1]))
    return {
        "parts": np.diff(first),
        **{name: getattr(index, name)[parts] for name in ("start", "size", "tokens")},
        "digest": index.digest[begin:end],
        "unreadable": np.zeros(0, np.int64),
    }


def _kept(folder: Path, num_samples: int) -> PartIndex | None:
    columns = read_columns(folder, "parts")
    if columns is None:
        return None
    if columns.keys() != {"first", *_COPIED} or len(columns["digest"]) != num_samples:
        logger.warning("cached parts %s do not fit the data set and are recomputed", folder)
        return None
    return PartIndex(**columns)


def warn_of_unreadable(dataset: Dataset, found: Iterable[Columns]) -> None:
    """Warn about the unreadable samples of several ranges."""
    reasons = [reason for columns in found for reason in columns["reasons"].tolist()]
    if reasons:
        shown = "".join(f"\n  {reason}" for reason in reasons[:_NAMED]) + ("\n  ..." if len(reasons) > _NAMED else "")
        logger.warning("%d of %d samples could not be read while parts were listed:%s", len(reasons), len(dataset), shown)
