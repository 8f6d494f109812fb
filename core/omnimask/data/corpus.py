"""Tokens of the training samples, for components that collect statistics before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from omnimask.cache import data_key
from omnimask.data.fields import raw_value
from omnimask.data.order import shuffled
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.sample_errors import of_one_sample
from omnimask.data.training_indices import Indices, blocks
from omnimask.interfaces import Dataset, Draw, HoldsTokens, Tokens


@dataclass(frozen=True)
class TrainingTokens:
    """Iterator over one modality of the training samples, each once, in random order, so any prefix is a fair sample.

    Samples that are unreadable or lack the modality are skipped.

    Args:
        dataset: source of raw values.
        reader: converts raw values to tokens, without augmentation.
        indices: of the training samples.
        options: reading options besides the data set, as text.
        modality: name of the modality.
    """

    dataset: Dataset
    reader: ModalityPipeline
    indices: Indices
    options: str
    modality: str = ""

    def __iter__(self) -> Iterator[Tokens]:
        if isinstance(self.dataset, HoldsTokens):
            yield from self._held(self.dataset)
            return
        for index, value in self._values():
            try:
                yield self.reader.tokenized(value, Draw(0, 0, self.dataset.key(index), stage=("corpus",)))
            except (OSError, ValueError):
                continue

    def raw(self) -> Iterator[Any]:
        """Return an iterator over the decoded raw values."""
        return (value for _, value in self._values())

    def _shuffled(self) -> Iterator[int]:
        return shuffled(self.indices, np.random.Generator(np.random.Philox(0)))

    def _held(self, dataset: HoldsTokens) -> Iterator[Tokens]:
        for index in self._shuffled():
            try:
                with of_one_sample:
                    tokens, _ = dataset.held(index)
            except (OSError, ValueError):
                continue
            if self.modality in tokens:
                yield tokens[self.modality]

    def _values(self) -> Iterator[tuple[int, Any]]:
        for index in self._shuffled():
            try:
                with of_one_sample:
                    raw = raw_value(self.dataset[index], self.reader.field)
                    value = None if raw is None else self.reader.decoded(raw)
            except (OSError, ValueError):
                continue
            if value is not None:
                yield index, value

    def fingerprint(self) -> str:
        """Return a digest of all inputs affecting the tokens."""
        digest = blake2b(repr((data_key(self.dataset), self.reader.field, self.options)).encode(), digest_size=16)
        for block in blocks(self.indices):
            digest.update(block.tobytes())
        return digest.hexdigest()
