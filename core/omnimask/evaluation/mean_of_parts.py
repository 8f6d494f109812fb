"""Means of parts that belong to one sample. n samples, N wholes, D width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import SPECIAL, Sample


@dataclass(frozen=True)
class Wholes:
    """Wholes of n samples.

    ``keys`` are in order of appearance, ``first`` is the row of each whole's first part. For every sample, ``number`` (n,) is its
    whole, and ``weight`` (n,) is the part's weight in it; weights sum to 1.
    """

    keys: tuple[str, ...]
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, keys: Sequence[str], sizes: Sequence[int]) -> Wholes:
        """Create from the key of each sample's whole, and the sizes of the samples."""
        numbers: dict[str, int] = {}
        number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        _, first = np.unique(number, return_index=True)
        size = np.asarray(sizes, np.float64)
        return cls(tuple(numbers), first, number, size / np.bincount(number, weights=size)[number])

    def mean(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average features (n, D) of the parts to (N, D) of the wholes."""
        if len(self.keys) == len(features):
            return features
        out = np.zeros((len(self.keys), features.shape[1]))
        np.add.at(out, self.number, features * self.weight[:, None])
        return out.astype(np.float32)


def num_tokens(sample: Sample) -> int:
    """Return the number of non-special tokens; at least 1, so that every part counts."""
    return max(1, sum(_content_tokens(sample)))


def _content_tokens(sample: Sample) -> Iterator[int]:
    for tokens in sample.tokens.values():
        yield int((~np.asarray(tokens.fields[SPECIAL], bool)).sum()) if SPECIAL in tokens.fields else len(tokens)
