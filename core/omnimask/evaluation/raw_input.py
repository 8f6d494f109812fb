"""Features without a network, as a baseline of probes. N samples, L tokens, V ids, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.errors import UserError
from omnimask.interfaces import SPECIAL, Sample, Tokens, TokenSpec

MOST_IDS = 8_192
"""Maximum number of counted ids: those present in the most training samples."""


class RawContent:
    """Collector of the content of samples. Samples of one key (the parts of a document) are merged.

    Continuous content is normalized as specified and flattened; if samples differ in length, it is the mean and the standard
    deviation over the tokens instead. Ids without special tokens are counted: ``log(1 + count)``, times the rarity of the id, ``1 +
    log((1 + N) / (1 + n))`` with n of the N training samples having it, then divided by the length of the vector (tf-idf [0]). No
    labels are needed. Modalities are concatenated; an absent one is zeros.

    [0] Salton, Buckley: Term-weighting approaches in automatic text retrieval, 1988.

    Args:
        specs: of the modalities.
    """

    def __init__(self, specs: Mapping[str, TokenSpec]) -> None:
        self.specs = specs
        self._parts: dict[str, list[Sample]] = {}

    def add(self, samples: Sequence[Sample], keys: Sequence[str]) -> None:
        """Append samples with the keys of their wholes."""
        for sample, key in zip(samples, keys, strict=True):
            self._parts.setdefault(key, []).append(sample)

    def features(self, is_train: NDArray[np.bool_]) -> Any:
        """Return float32 features (N, D) by key, in order of appearance: dense, or sparse (CSR) if there are ids.

        Args:
            is_train: (N,) whether each key is a training sample.
        """
        parts = [
            self._ids(name, is_train) if spec.width is None else self._continuous(name, spec) for name, spec in self.specs.items()
        ]
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts, axis=1)
        return sparse().hstack(parts, format="csr", dtype=np.float32)

    def _tokens(self, name: str) -> list[list[Tokens]]:
        """Return the tokens of each key's samples, without empty or absent ones."""
        found = [[sample.tokens[name] for sample in samples if name in sample.tokens] for samples in self._parts.values()]
        return [[tokens for tokens in each if len(tokens)] for each in found]

    def _ids(self, name: str, is_train: NDArray[np.bool_]) -> Any:
        rows = [np.concatenate([np.zeros(0, np.int64), *map(_content_ids, each)]) for each in self._tokens(name)]
        counted = [np.unique(row, return_counts=True) for row in rows]
        owner = np.repeat(np.arange(len(rows)), [len(ids) for ids, _ in counted])
        ids, counts = (np.concatenate(column) for column in zip(*counted, strict=True))
        shape = (len(rows), int(ids.max(initial=-1)) + 1)
        matrix = sparse().csr_array((np.log1p(counts, dtype=np.float32), (owner, ids)), shape=shape)
        having = np.bincount(ids[is_train[owner]], minlength=shape[1])  # (V,) training samples with each id
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
    """Return ids (n,) of the non-special tokens."""
    ids = np.asarray(tokens.content, np.int64)
    return ids[~np.asarray(tokens.fields[SPECIAL], bool)] if SPECIAL in tokens.fields else ids


def _row(content: NDArray[np.float32], is_uniform: bool) -> NDArray[np.float32]:
    """Return the features (D,) of one sample's content (L, *width)."""
    if is_uniform:
        return content.reshape(-1)
    flat = content.reshape(len(content), -1)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def sparse() -> Any:
    """Return ``scipy.sparse``, which is installed with scikit-learn.

    Raises:
        UserError: it is not installed.
    """
    try:
        import scipy.sparse
    except ImportError as error:
        raise UserError("probes need scikit-learn; install it with: pip install 'omnimask[evaluation]'") from error
    return scipy.sparse
