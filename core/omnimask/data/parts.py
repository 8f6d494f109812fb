"""Samples that are too long for a network, as the parts that their tokenizer cuts them into. N parts."""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.data.cache import cache_folder, keep_array, kept_array
from omnimask.data.counts import Reader, watched
from omnimask.data.fields import decoded, names_of, raw_value
from omnimask.data.order import Buffered, Grouped
from omnimask.interfaces import Dataset, Splits

logger = logging.getLogger(__name__)

KEPT_BYTES = 64 * 2**20
"""Decoded samples that a process keeps, so that a long one is not read anew for each of its parts."""
_FORMAT = 1
_UNREADABLE = -1
_ROWS = 4


@dataclass(frozen=True)
class PartIndex:
    """Where the parts lie, (N,) int64 each: the ``sample`` of the data set below, ``start`` and ``stop`` in the tokenizer's
    units (-1 for a sample that could not be read, which counts as one part), and ``tokens``."""

    sample: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sample)


class Parts:
    """A data set whose samples are the parts of another's, in its order; a part has the other fields of its sample too.

    A key is the sample's where it is one part, else ``key#start``. Samples that hold nothing have no parts; one that could not
    be read while the parts were listed is one part, which is a bad sample.

    Args:
        dataset: the whole samples.
        reader: how they are read; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        index: where the parts lie (:func:`list_parts`).
    """

    def __init__(self, dataset: Dataset, reader: Reader, index: PartIndex) -> None:
        self.dataset, self.reader, self.index = dataset, reader, index
        self._is_alone = np.bincount(index.sample, minlength=len(dataset))[index.sample] == 1
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) tokens of every part."""
        return self.index.tokens

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """(G,) first part of every group of samples that has parts, where the data set below offers groups."""
        starts = self.dataset.group_starts if isinstance(self.dataset, Grouped) else None
        if starts is None:
            return None
        first = np.unique(np.searchsorted(self.index.sample, starts))
        return first[first < len(self)]

    @property
    def buffer(self) -> int | None:
        """Samples, and so parts at least, that the data set below keeps, where it reads in order."""
        return self.dataset.buffer if isinstance(self.dataset, Buffered) else None

    def key(self, index: int) -> str:
        """The sample's key, and where the part starts if it is not the only one."""
        whole = self.whole(index)
        return whole if self._is_alone[index] else f"{whole}#{self.index.start[index]}"

    def whole(self, index: int) -> str:
        """Key of the sample that a part belongs to."""
        return self.dataset.key(int(self.index.sample[index]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample's fields with those of the modality cut down to the part.

        Raises:
            OSError, ValueError: the sample cannot be read, or is not what it was when its parts were listed.
        """
        number, start = int(self.index.sample[index]), int(self.index.start[index])
        sample, raw = self._read(number)
        if start == _UNREADABLE:
            raise ValueError("it could not be read when its parts were listed, and can be read now; begin a new run")
        part = cast(Splits, self.reader.tokenizer).part(raw, start, int(self.index.stop[index]))
        field = self.reader.field
        return {**sample, **({field: part} if isinstance(field, str) else part)}

    def fingerprint(self) -> str:
        """Digest of the samples' fingerprint and of where the parts lie."""
        digest = blake2b(self.dataset.fingerprint().encode(), digest_size=16)
        digest.update(_as_array(self.index).tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def _read(self, number: int) -> tuple[Mapping[str, Any], Any]:
        """A sample and its raw value, decoded; the last ones stay in memory."""
        if number not in self._kept:
            sample, raw = _decoded(self.dataset, self.reader, number)
            self._kept[number] = sample, raw, _size(raw) + _size(sample)
            total = sum(size for _, _, size in self._kept.values())
            while total > KEPT_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1][2]
        self._kept.move_to_end(number)
        return self._kept[number][:2]


def list_parts(dataset: Dataset, reader: Reader, *, options: str = "", cache: Path | None = None) -> PartIndex:
    """Where the parts of all samples lie: from the cache, else every sample is read once.

    Args:
        dataset: the whole samples.
        reader: how they are read; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        options: what else the parts depend on, as text for the cache's key.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.
    """
    key = blake2b(repr((_FORMAT, dataset.fingerprint(), len(dataset), options)).encode(), digest_size=16).hexdigest()
    file = (cache or cache_folder()) / "parts" / f"{key}.npy"
    array = kept_array(file, lambda found: found.ndim == 2 and len(found) == _ROWS and _fits(found, len(dataset)), "parts")
    if array is None:
        logger.info("listing the parts of %d samples; later runs reuse the list", len(dataset))
        array, may_keep = _scan(dataset, reader)
        logger.info("%d samples have %d parts with %d tokens", len(dataset), array.shape[1], int(array[-1].sum()))
        if may_keep:
            keep_array(file, array, "parts")
    return PartIndex(*array)


def scan_parts(dataset: Dataset, reader: Reader) -> PartIndex:
    """Where the parts of a few samples lie, without a cache."""
    return PartIndex(*_scan(dataset, reader)[0])


def _scan(dataset: Dataset, reader: Reader) -> tuple[NDArray[np.int64], bool]:
    """(4, N) index; and whether a later scan would find the same: not after errors of the disk, which may pass."""
    tokenizer = cast(Splits, reader.tokenizer)
    rows: list[NDArray[np.int64]] = []
    empty, bad, may_keep = 0, 0, True
    for number in watched(range(len(dataset)), "listing parts"):
        try:
            found = tokenizer.split(_decoded(dataset, reader, number)[1])
        except (OSError, ValueError) as error:
            found = [(_UNREADABLE, _UNREADABLE, 1)]
            bad, may_keep = bad + 1, may_keep and not isinstance(error, OSError)
            logger.debug("sample %s cannot be read: %s", dataset.key(number), error)
        empty += not found
        rows.append(np.array([(number, *part) for part in found], np.int64).reshape(-1, _ROWS))
    if bad:
        logger.warning("%d of %d samples could not be read while parts were listed", bad, len(dataset))
    if empty:
        logger.info("%d of %d samples hold nothing and are left out", empty, len(dataset))
    return np.ascontiguousarray(np.concatenate([np.zeros((0, _ROWS), np.int64), *rows]).T), may_keep


def _decoded(dataset: Dataset, reader: Reader, number: int) -> tuple[dict[str, Any], Any]:
    """A sample without the raw values' encoded form, and its raw value, decoded.

    Raises:
        OSError, ValueError: it cannot be read, or lacks the modality's field.
    """
    sample = dict(dataset[number])
    raw = raw_value(sample, reader.field)
    if raw is None:
        raise ValueError(f"it has no field {names_of(reader.field)[0]!r}; it has {sorted(sample)}")
    raw = decoded(raw, reader.decoder)
    return {name: value for name, value in sample.items() if name not in names_of(reader.field)}, raw


def _as_array(index: PartIndex) -> NDArray[np.int64]:
    return np.stack([index.sample, index.start, index.stop, index.tokens])


def _fits(array: NDArray[np.int64], num_samples: int) -> bool:
    return not array.shape[1] or bool(array[0].min() >= 0 and array[0].max() < num_samples)


def _size(value: Any) -> int:
    """Bytes that a value takes in memory, about."""
    if isinstance(value, Mapping):
        return sum(_size(item) for item in cast(Mapping[str, Any], value).values())
    if isinstance(value, list | tuple):
        return sum(_size(item) for item in cast(list[Any], value)) + sys.getsizeof(value)
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)
