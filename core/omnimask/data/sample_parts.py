"""Splitting of samples too long for a network into parts, by their tokenizer. N parts."""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import Stated, cache_folder, data_key, keep_array, kept_array
from omnimask.data.fields import decoded, names_of, raw_value
from omnimask.data.order import Buffered, Grouped
from omnimask.data.progress_lines import watched
from omnimask.data.sample_errors import of_one_sample, reason_of
from omnimask.data.token_counts import ModalityReader
from omnimask.interfaces import Dataset, Splits

logger = logging.getLogger(__name__)

KEPT_BYTES = 64 * 2**20
"""Bytes of decoded samples kept per process, so a long sample is not read again for each of its parts."""
_FORMAT = 2
_UNREADABLE = -1
_ROWS = 5
_NAMED = 3
"""Number of samples whose reasons a warning contains."""


@dataclass(frozen=True)
class PartIndex:
    """Location of the parts, (N,) int64 each.

    ``sample`` is the index in the underlying data set; ``start`` and ``stop`` are in the tokenizer's units (-1 for an unreadable
    sample, which counts as one part). ``tokens`` is the count of the part, and ``digest`` that of the whole sample.
    """

    sample: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    tokens: NDArray[np.int64]
    digest: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sample)


class SampleParts:
    """Data set whose samples are the parts of another data set's samples, in its order. A part keeps its sample's other fields.

    The key is the sample's if there is only one part, else ``key#start``. Empty samples have no parts. A sample that could not be
    read while the parts were listed is one part, which is a bad sample.

    Args:
        dataset: the whole samples.
        reader: reads them; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        index: location of the parts (:func:`list_parts`).
    """

    def __init__(self, dataset: Dataset, reader: ModalityReader, index: PartIndex) -> None:
        self.dataset, self.reader, self.index = dataset, reader, index
        self._is_alone = np.bincount(index.sample, minlength=len(dataset))[index.sample] == 1
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Any, int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Tokens of every part (N,)."""
        return self.index.tokens

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """First part of every non-empty group of samples (G,). None if the underlying data set has no groups."""
        starts = self.dataset.group_starts if isinstance(self.dataset, Grouped) else None
        if starts is None:
            return None
        first = np.unique(np.searchsorted(self.index.sample, starts))
        return first[first < len(self)]

    @property
    def buffer(self) -> int | None:
        """Samples, and thus at least as many parts, kept by the underlying data set if it is read sequentially."""
        return self.dataset.buffer if isinstance(self.dataset, Buffered) else None

    def key(self, index: int) -> str:
        """Return the sample's key, with the start of the part unless it is the only one."""
        whole = self.whole(index)
        return whole if self._is_alone[index] else f"{whole}#{self.index.start[index]}"

    def whole(self, index: int) -> str:
        """Return the key of the sample that a part belongs to."""
        return self.dataset.key(int(self.index.sample[index]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the sample's fields, with those of the modality restricted to the part.

        Raises:
            OSError, ValueError: the sample cannot be read, or has changed since its parts were listed.
        """
        number, start = int(self.index.sample[index]), int(self.index.start[index])
        sample, raw, digest = self._read(number)
        tokenizer = cast(Splits, self.reader.tokenizer)
        if start == _UNREADABLE:
            tokenizer.split(raw)  # raises the reason why it has no parts
            raise ValueError("it was unreadable when parts were listed, but is readable now; start a new run")
        if digest != self.index.digest[index]:
            raise ValueError("it has changed since its parts were listed; start a new run")
        part = tokenizer.part(raw, start, int(self.index.stop[index]))
        field = self.reader.field
        return {**sample, **({field: part} if isinstance(field, str) else part)}

    def check_count(self, index: int, found: int) -> None:
        """Compare the number of tokens of an unchanged part with the listed number.

        Raises:
            ValueError: they differ, so the part was cut in the wrong place.
        """
        listed = int(self.index.tokens[index])
        if found != listed:
            raise ValueError(
                f"the part from {self.index.start[index]} has {found:,} tokens, but had {listed:,} when parts "
                "were listed; the data or the tokenizer have changed: start a new run"
            )

    def fingerprint(self) -> str:
        """Return a digest of the samples' fingerprint and of the location of the parts."""
        digest = blake2b(self.dataset.fingerprint().encode(), digest_size=16)
        digest.update(_as_array(self.index)[:-1].tobytes())
        return digest.hexdigest()

    def state(self) -> str:
        """Return the state of the underlying data set."""
        return self.dataset.state() if isinstance(self.dataset, Stated) else ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def _read(self, number: int) -> tuple[Mapping[str, Any], Any, int]:
        """Return a sample, its decoded raw value, and its digest. The most recent ones are kept in memory."""
        if number not in self._kept:
            sample, raw = _decoded(self.dataset, self.reader, number)
            self._kept[number] = sample, raw, _digest(raw), _size(raw) + _size(sample)
            total = sum(size for *_, size in self._kept.values())
            while total > KEPT_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1][-1]
        self._kept.move_to_end(number)
        return self._kept[number][:-1]


def list_parts(dataset: Dataset, reader: ModalityReader, *, options: str = "", cache: Path | None = None) -> PartIndex:
    """List the parts of all samples, from the cache or by reading every sample once.

    Args:
        dataset: the whole samples.
        reader: reads them; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        options: other options affecting the parts, as text for the cache's key.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.
    """
    key = blake2b(repr((_FORMAT, data_key(dataset), len(dataset), options)).encode(), digest_size=16).hexdigest()
    file = (cache or cache_folder()) / "parts" / f"{key}.npy"
    array = kept_array(file, lambda found: found.ndim == 2 and len(found) == _ROWS and _fits(found, len(dataset)), "parts")
    if array is None:
        logger.info("listing the parts of %d samples; later runs reuse the list", len(dataset))
        array = _scan(dataset, reader, range(len(dataset)))
        logger.info("%d samples have %d parts with %d tokens", len(dataset), array.shape[1], int(array[3].sum()))
        keep_array(file, array, "parts")
    elif np.any(array[1] == _UNREADABLE):
        array, before = _repaired(dataset, reader, array), array
        if not np.array_equal(array, before):
            keep_array(file, array, "parts")
    return PartIndex(*array)


def scan_parts(dataset: Dataset, reader: ModalityReader) -> PartIndex:
    """List the parts of a few samples, without a cache."""
    return PartIndex(*_scan(dataset, reader, range(len(dataset))))


def _scan(dataset: Dataset, reader: ModalityReader, numbers: Sequence[int]) -> NDArray[np.int64]:
    """Return the (5, N) index of the parts of some samples."""
    rows: list[NDArray[np.int64]] = []
    reasons: list[str] = []
    num_empty = 0
    for number in watched(numbers, "listing parts"):
        try:
            with of_one_sample:
                found = _parts_of(dataset, reader, number)
        except (OSError, ValueError) as error:
            reasons.append(f"{dataset.key(number)}: {reason_of(error)}")
            found = [(_UNREADABLE, _UNREADABLE, 1, 0)]
        num_empty += not found
        rows.append(np.array([(number, *part) for part in found], np.int64).reshape(-1, _ROWS))
    if reasons:
        shown = "".join(f"\n  {reason}" for reason in reasons[:_NAMED]) + ("\n  ..." if len(reasons) > _NAMED else "")
        logger.warning("%d of %d samples could not be read while parts were listed:%s", len(reasons), len(numbers), shown)
    if num_empty:
        logger.info("skipping %d of %d samples, which are empty", num_empty, len(numbers))
    return np.ascontiguousarray(np.concatenate([np.zeros((0, _ROWS), np.int64), *rows]).T)


def _repaired(dataset: Dataset, reader: ModalityReader, array: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cached index after trying unreadable samples again."""
    is_bad = array[1] == _UNREADABLE
    again = _scan(dataset, reader, array[0, is_bad].tolist())
    joined = np.concatenate([array[:, ~is_bad], again], axis=1)
    return np.ascontiguousarray(joined[:, np.argsort(joined[0], kind="stable")])


def _parts_of(dataset: Dataset, reader: ModalityReader, number: int) -> Sequence[tuple[int, int, int, int]]:
    """Return (start, stop, tokens, digest of the whole sample) of each part of a sample. An empty sample has none."""
    names = names_of(reader.field)
    sample = dataset[number]
    if names[0] in sample and raw_value(sample, reader.field) is None:
        return ()
    raw = decoded(_present(sample, reader), reader.decoder)
    digest = _digest(raw)
    return [(*part, digest) for part in cast(Splits, reader.tokenizer).split(raw)]


def _decoded(dataset: Dataset, reader: ModalityReader, number: int) -> tuple[dict[str, Any], Any]:
    """Return a sample without its encoded raw values, and its decoded raw value.

    Raises:
        OSError, ValueError: it cannot be read, or lacks the modality's field.
    """
    sample = dataset[number]
    raw = decoded(_present(sample, reader), reader.decoder)
    return {name: value for name, value in sample.items() if name not in names_of(reader.field)}, raw


def _present(sample: Mapping[str, Any], reader: ModalityReader) -> Any:
    raw = raw_value(sample, reader.field)
    if raw is None:
        name = names_of(reader.field)[0]
        if name in sample:
            raise ValueError(f"its field {name!r} is empty")
        raise ValueError(f"it has no field {name!r}; it has {sorted(sample)}")
    return raw


def _as_array(index: PartIndex) -> NDArray[np.int64]:
    return np.stack([index.sample, index.start, index.stop, index.tokens, index.digest])


def _fits(array: NDArray[np.int64], num_samples: int) -> bool:
    return not array.shape[1] or bool(array[0].min() >= 0 and array[0].max() < num_samples)


def _digest(value: Any) -> int:
    """Return a digest of a decoded raw value."""
    digest = blake2b(digest_size=8)
    _update(digest, value)
    return int.from_bytes(digest.digest(), "little", signed=True)


def _update(digest: blake2b, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[str, Any], value).items():
            digest.update(f"{name!r}:".encode())
            _update(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(b"[%d]" % len(cast(list[Any], value)))
        for item in cast(list[Any], value):
            _update(digest, item)
    elif isinstance(value, str):
        digest.update(b"%d " % len(value) + value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    else:
        digest.update(repr(value).encode("utf-8", "surrogatepass"))


def _size(value: Any) -> int:
    """Return the approximate memory of a value in bytes."""
    if isinstance(value, Mapping):
        return sum(_size(item) for item in cast(Mapping[str, Any], value).values())
    if isinstance(value, list | tuple):
        return sum(_size(item) for item in cast(list[Any], value)) + sys.getsizeof(value)
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)
