"""Splitting of samples too long for a network into parts, by their tokenizer. N parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import Stated, data_key
from omnimask.data.fields import decoded, names_of, required_value
from omnimask.data.order import Buffered, Grouped
from omnimask.data.part_index import UNREADABLE, PartIndex
from omnimask.data.raw_digest import digest_of, memory_of
from omnimask.data.token_counts import ModalityReader
from omnimask.data.whole_parts import WholeParts
from omnimask.interfaces import Dataset, Splits

KEPT_BYTES = 64 * 2**20
"""Bytes of decoded samples kept per process, so a long sample is not read again for each of its parts."""


class SampleParts:
    """Data set whose samples are the parts of another data set's samples, in its order. A part keeps its sample's other fields.

    The key is the sample's if there is only one part, else ``key#start``. Empty samples have no parts. A sample that could not be
    read while the parts were listed is one part, which is a bad sample.

    Args:
        dataset: the whole samples.
        reader: reads them; its tokenizer is a :class:`~omnimask.interfaces.Splits`.
        index: location of the parts (:func:`~omnimask.data.part_index.list_parts`).
    """

    def __init__(self, dataset: Dataset, reader: ModalityReader, index: PartIndex) -> None:
        self.dataset, self.reader, self.index = dataset, reader, index
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Any, int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def counts(self) -> NDArray[np.integer]:
        """Tokens of every part (N,), in the smallest unsigned type."""
        return self.index.tokens

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """First part of every non-empty group of samples (G,). None if the underlying data set has no groups."""
        starts = self.dataset.group_starts if isinstance(self.dataset, Grouped) else None
        if starts is None:
            return None
        first = np.unique(self.index.first[starts].astype(np.int64))
        return first[first < len(self)]

    @property
    def buffer(self) -> int | None:
        """Samples, and thus at least as many parts, kept by the underlying data set if it is read sequentially."""
        return self.dataset.buffer if isinstance(self.dataset, Buffered) else None

    def key(self, index: int) -> str:
        """Return the sample's key, with the start of the part unless it is the only one."""
        sample = self.index.sample(index)
        whole = self.dataset.key(sample)
        return whole if self.index.is_alone(sample) else f"{whole}#{self.index.start[index]}"

    def whole(self, index: int) -> str:
        """Return the key of the sample that a part belongs to."""
        return self.dataset.key(self.index.sample(index))

    def wholes(self) -> WholeParts:
        """Return the keys of the samples, and the location of their parts."""
        return WholeParts(self.dataset.key, self.index.first, partial(data_key, self.dataset))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the sample's fields, with those of the modality restricted to the part.

        Raises:
            OSError, ValueError: the sample cannot be read, or has changed since its parts were listed.
        """
        number = self.index.sample(index)
        start, stop = self.index.bounds(index, number)
        sample, raw, digest = self._read(number)
        tokenizer = cast(Splits, self.reader.tokenizer)
        if start == UNREADABLE:
            tokenizer.split(raw)  # raises the reason why it has no parts
            raise ValueError("it was unreadable when parts were listed, but is readable now; start a new run")
        if digest != int(self.index.digest[number]):
            raise ValueError("it has changed since its parts were listed; start a new run")
        part = tokenizer.part(raw, start, stop)
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
        self.index.update(digest)
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
            self._kept[number] = sample, raw, digest_of(raw), memory_of(raw) + memory_of(sample)
            total = sum(size for *_, size in self._kept.values())
            while total > KEPT_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1][-1]
        self._kept.move_to_end(number)
        return self._kept[number][:-1]


def _decoded(dataset: Dataset, reader: ModalityReader, number: int) -> tuple[dict[str, Any], Any]:
    """Return a sample without its encoded raw values, and its decoded raw value.

    Raises:
        OSError, ValueError: it cannot be read, or lacks the modality's field.
    """
    sample = dataset[number]
    raw = decoded(required_value(sample, reader.field), reader.decoder)
    return {name: value for name, value in sample.items() if name not in names_of(reader.field)}, raw
