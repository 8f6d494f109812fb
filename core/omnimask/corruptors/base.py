"""Maskings of several modalities seen as one, in sample coordinates. n tokens of the sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Masking, Sample


def joint_visible(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.bool_]:
    """(n,) ``is_visible`` of all modalities."""
    return _concatenate([np.asarray(masking[name].is_visible, bool) for name in sample.tokens], bool)


def joint_targets(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.bool_]:
    """(n,) ``is_target`` of all modalities."""
    return _concatenate([np.asarray(masking[name].is_target, bool) for name in sample.tokens], bool)


def joint_weight(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.float32]:
    """(n,) loss weights, 1 where a masking gives none."""
    parts = []
    for name, tokens in sample.tokens.items():
        weight = masking[name].weight
        parts.append(np.ones(len(tokens), np.float32) if weight is None else np.asarray(weight, np.float32))
    return _concatenate(parts, np.float32)


def level_of(masking: Mapping[str, Masking]) -> float:
    """The rate drawn: the largest of the modalities'."""
    return max((m.level for m in masking.values()), default=0.0)


def _concatenate(parts: list[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
