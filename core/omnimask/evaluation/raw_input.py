"""What a probe can see without any network. N samples, L tokens, V ids, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.errors import UserError
from omnimask.interfaces import SPECIAL, Sample, Tokens, TokenSpec

MOST_IDS = 8_192
"""So many ids are counted, those that the most training samples have."""


class RawContent:
    """Gathers the content of samples; samples of one key (the parts of a document) are one.

    Continuous content is scaled as its specification says and laid end to end; where samples differ in length, it is the mean and
    the standard deviation over the tokens instead. Ids are counted, special tokens excepted: ``log(1 + count)``, times how rare the
    id is, ``1 + log((1 + N) / (1 + n))`` with n of the N training samples having it, and then divided by the length of the vector
    (tf-idf [0]); no labels are needed for it. Modalities stand side by side; an absent one is zeros.

    [0] Salton, Buckley: Term-weighting approaches in automatic text retrieval, 1988.

    Args:
        specs: of the modalities.
    """

    def __init__(self, specs: Mapping[str, TokenSpec]) -> None:
        self.specs = specs
        self._parts: dict[str, list[Sample]] = {}

    def add(self, samples: Sequence[Sample], keys: Sequence[str]) -> None:
        """Appends samples with the keys of what they belong to."""
        for sample, key in zip(samples, keys, strict=True):
            self._parts.setdefault(key, []).append(sample)

    def features(self, is_train: NDArray[np.bool_]) -> Any:
        """(N, D) float32 by key, in the order in which keys came: an array, or a sparse one (CSR) where there are ids.

        Args:
            is_train: (N,) which of the keys are training samples.
        """
        parts = [
            self._ids(name, is_train) if spec.width is None else self._continuous(name, spec) for name, spec in self.specs.items()
        ]
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts, axis=1)
        return sparse().hstack(parts, format="csr", dtype=np.float32)

    def _tokens(self, name: str) -> list[list[Tokens]]:
        """By key, the tokens of its samples; none where all lack the modality."""
        found = [[sample.tokens[name] for sample in samples if name in sample.tokens] for samples in self._parts.values()]
        return [[tokens for tokens in each if len(tokens)] for each in found]

    def _ids(self, name: str, is_train: NDArray[np.bool_]) -> Any:
        rows = [np.concatenate([np.zeros(0, np.int64), *map(_content_ids, each)]) for each in self._tokens(name)]
        counted = [np.unique(row, return_counts=True) for row in rows]
        owner = np.repeat(np.arange(len(rows)), [len(ids) for ids, _ in counted])
        ids, counts = (np.concatenate(column) for column in zip(*counted, strict=True))
        shape = (len(rows), int(ids.max(initial=-1)) + 1)
        matrix = sparse().csr_array((np.log1p(counts, dtype=np.float32), (owner, ids)), shape=shape)
        having = np.bincount(ids[is_train[owner]], minlength=shape[1])
        used = np.sort(np.argsort(-having, kind="stable")[: min(MOST_IDS, int((having > 0).sum()))])
        rarity = 1 + np.log((1 + is_train.sum()) / (1 + having[used]))
        weighted = matrix[:, used] * rarity[None].astype(np.float32)
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).reshape(-1, 1)
        return sparse().csr_array(weighted.multiply(1 / np.maximum(length, 1e-12)), dtype=np.float32)

    def _continuous(self, name: str, spec: TokenSpec) -> NDArray[np.float32]:
        mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
        found = [np.concatenate([np.asarray(tokens.content) for tokens in each]) if each else None for each in self._tokens(name)]
        is_uniform = len({len(content) for content in found if content is not None}) <= 1
        rows = [None if content is None else _row((content.astype(np.float32) - mean) / std, is_uniform) for content in found]
        width = next((len(row) for row in rows if row is not None), 0)
        return np.stack([np.zeros(width, np.float32) if row is None else row for row in rows])


def _content_ids(tokens: Tokens) -> NDArray[np.int64]:
    """(n,) ids of the tokens that are not special."""
    ids = np.asarray(tokens.content, np.int64)
    return ids[~np.asarray(tokens.fields[SPECIAL], bool)] if SPECIAL in tokens.fields else ids


def _row(content: NDArray[np.float32], is_uniform: bool) -> NDArray[np.float32]:
    """(D,) of one sample's content (L, *width)."""
    if is_uniform:
        return content.reshape(-1)
    flat = content.reshape(len(content), -1)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def sparse() -> Any:
    """``scipy.sparse``, which comes with scikit-learn.

    Raises:
        UserError: it is not installed.
    """
    try:
        import scipy.sparse
    except ImportError as error:
        raise UserError("probes need scikit-learn; install it with: pip install 'omnimask[evaluation]'") from error
    return scipy.sparse
