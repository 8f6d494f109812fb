"""Samples that are parts of something, and the mean of the parts. n samples, N wholes, D width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import SPECIAL, Sample


@dataclass(frozen=True)
class Wholes:
    """What n samples are parts of: the ``keys`` in the order in which they come, the row of the ``first`` part of each, and for
    every sample the number of its whole (n,) and the ``weight`` (n,) of the part in it, which sum to 1."""

    keys: tuple[str, ...]
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, keys: Sequence[str], sizes: Sequence[int]) -> Wholes:
        """From the key of what each sample belongs to, and the sizes of the samples."""
        numbers: dict[str, int] = {}
        number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        _, first = np.unique(number, return_index=True)
        size = np.asarray(sizes, np.float64)
        return cls(tuple(numbers), first, number, size / np.bincount(number, weights=size)[number])

    def mean(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, D) of the parts -> (N, D) of the wholes."""
        if len(self.keys) == len(features):
            return features
        out = np.zeros((len(self.keys), features.shape[1]))
        np.add.at(out, self.number, features * self.weight[:, None])
        return out.astype(np.float32)


def num_tokens(sample: Sample) -> int:
    """Tokens that are not special; at least 1, so that every part counts."""
    return max(1, sum(_content_tokens(sample)))


def _content_tokens(sample: Sample) -> Iterator[int]:
    for tokens in sample.tokens.values():
        yield int((~np.asarray(tokens.fields[SPECIAL], bool)).sum()) if SPECIAL in tokens.fields else len(tokens)
