"""Shared helpers of corruptors: maskings of several modalities joined in sample coordinates. n tokens of the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import SPECIAL, Context, Masking, MaskingColumns, Sample, SampleColumns, Targets
from omnimask.streams import targets


def joint_visible(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.bool_]:
    """Return ``is_visible`` of all modalities, (n,)."""
    return _concatenate([np.asarray(masking[name].is_visible, bool) for name in sample.tokens], bool)


def joint_targets(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.bool_]:
    """Return ``is_target`` of all modalities, (n,)."""
    return _concatenate([np.asarray(masking[name].is_target, bool) for name in sample.tokens], bool)


def joint_weight(sample: Sample, masking: Mapping[str, Masking]) -> NDArray[np.float32]:
    """Return loss weights (n,), 1 if a masking has none."""
    parts = []
    for name, tokens in sample.tokens.items():
        weight = masking[name].weight
        parts.append(np.ones(len(tokens), np.float32) if weight is None else np.asarray(weight, np.float32))
    return _concatenate(parts, np.float32)


def level_of(masking: Mapping[str, Masking]) -> float:
    """Return the ratio drawn, the largest of all modalities."""
    return max((m.level for m in masking.values()), default=0.0)


def kind_of(masking: Mapping[str, Masking]) -> int:
    """Return the branch drawn, the largest of all modalities."""
    return max((m.kind for m in masking.values()), default=0)


class JointMaskings:
    """Maskings of all modalities of a whole micro-batch, joined in batch coordinates. n tokens, B samples."""

    def __init__(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> None:
        self._samples, self._maskings = samples, maskings

    @property
    def is_visible(self) -> NDArray[np.bool_]:
        """As :func:`joint_visible`, (n,)."""
        return self._samples.joint({name: m.is_visible for name, m in self._maskings.items()}, bool)

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """As :func:`joint_targets`, (n,)."""
        return self._samples.joint({name: m.is_target for name, m in self._maskings.items()}, bool)

    def weight(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the loss weights (N,) of the tokens ``at`` (N,), 1 if a masking has none."""
        if all(m.weight is None for m in self._maskings.values()):
            return np.ones(len(at), np.float32)
        parts = {n: np.ones(len(m.is_visible), np.float32) if m.weight is None else m.weight for n, m in self._maskings.items()}
        return self._samples.joint(parts, np.float32)[at]

    def in_place(self) -> Targets:
        """Return targets that ask for every target token at its own slot."""
        asked = np.flatnonzero(self.is_target)
        return targets(asked, asked, weight=self.weight(asked))

    @property
    def level(self) -> NDArray[np.float64]:
        """As :func:`level_of`, (B,)."""
        return self._largest("level", np.float64)

    @property
    def kind(self) -> NDArray[np.int64]:
        """As :func:`kind_of`, (B,)."""
        return self._largest("kind", np.int64)

    def _largest(self, name: str, dtype: type) -> Any:
        out = np.zeros(self._samples.num_samples, dtype)
        for modality, masking in self._maskings.items():
            rows = self._samples.rows[modality]
            out[rows] = np.maximum(out[rows], getattr(masking, name))
        return out


def specials_joint(samples: SampleColumns) -> NDArray[np.bool_]:
    """As the inverse of :func:`all_but_special`, (n,)."""
    parts = {name: t.fields.get(SPECIAL, np.zeros(t.num_tokens, bool)) for name, t in samples.tokens.items()}
    return samples.joint(parts, bool)


def all_but_special(sample: Sample) -> NDArray[np.bool_]:
    """Return (n,) True for tokens except special ones."""
    parts = [~np.asarray(t.fields[SPECIAL], bool) if SPECIAL in t.fields else np.ones(len(t), bool) for t in sample.tokens.values()]
    return _concatenate(parts, bool)


def with_units(rows: Targets, at: Any, literal: Any, weight: Any) -> Targets:
    """Return the rows of tokens, followed by a row for each of U whole units, whose ``index`` and ``of`` are -1.

    Args:
        rows: of the tokens; their ``index`` becomes 0 if they have none.
        at, literal, weight: (U,) of the units: slot, answer and loss weight.
    """
    none = np.full(len(at), -1)
    return targets(
        np.concatenate([np.asarray(rows.at)[:, 0], at]),
        np.concatenate([rows.of, none]),
        literal=np.concatenate([rows.literal, literal]),
        weight=np.concatenate([rows.weight, weight]),
        index=np.concatenate([np.zeros(len(rows), np.int64) if rows.index is None else rows.index, none]),
    )


def only_modality(sample: Sample, corruptor: str) -> str:
    """Return the name of the sample's only modality.

    Raises:
        ValueError: it has several.
    """
    if len(sample.tokens) != 1:
        raise ValueError(f"{corruptor} handles one modality, not {list(sample.tokens)}; set it under each modality")
    return next(iter(sample.tokens))


def check_ids(context: Context, corruptor: str) -> None:
    """Raise ``ValueError`` if a served modality has continuous tokens."""
    for name in context.modalities:
        if context.specs[name].vocabulary is None:
            raise ValueError(f"{corruptor} needs ids, but the tokens of {name!r} are continuous; use drop or mask_token")


def check_one_axis(context: Context) -> None:
    """Raise ``ValueError`` if slots cannot be numbered along a single position axis."""
    for name in context.modalities:
        if context.specs[name].axes != 1:
            raise ValueError(f"renumber needs one position axis, but {name!r} has {context.specs[name].axes}; set renumber: false")


def _concatenate(parts: list[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
