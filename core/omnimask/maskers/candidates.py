"""Tokens that may be hidden at all: those that only frame a sample are taken out before a masker runs, and put back after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Array, JointMasker, Masking, Sample, Tokens, TokenSpec

SPECIAL = "special"
"""The boolean field of tokens that are never hidden and never asked for."""


class Candidates:
    """A masker that sees no tokens whose field ``special`` is True; they stay visible, and its shares are of the others.

    Args:
        masker: over a sample.
        specs: of the recipe's modalities.
    """

    def __init__(self, masker: JointMasker, specs: Mapping[str, TokenSpec]) -> None:
        self.masker, self.specs = masker, specs

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        chosen = {
            name: np.flatnonzero(~np.asarray(tokens.fields[SPECIAL], bool))
            for name, tokens in sample.tokens.items()
            if SPECIAL in tokens.fields
        }
        parts = {
            name: take(tokens, chosen[name], self.specs[name]) if name in chosen else tokens
            for name, tokens in sample.tokens.items()
        }
        masked = self.masker(dataclasses.replace(sample, tokens=parts))
        return {
            name: put_back(masking, chosen[name], len(sample.tokens[name])) if name in chosen else masking
            for name, masking in masked.items()
        }


def take(tokens: Tokens, index: NDArray[np.int64], spec: TokenSpec) -> Tokens:
    """Some of the tokens, with their fields (of pairs: those of pairs of them)."""
    fields: dict[str, Array] = {}
    for name, values in tokens.fields.items():
        arity = spec.fields[name].arity if name in spec.fields else 1
        fields[name] = values[np.ix_(index, index)] if arity == 2 else values if arity == 0 else values[index]
    return Tokens(tokens.content[index], tokens.positions[index], fields)


def put_back(masking: Masking, index: NDArray[np.int64], length: int) -> Masking:
    """A masking of the tokens at ``index`` as one of all, in which the others are visible and not asked for."""
    is_visible, is_target = np.ones(length, bool), np.zeros(length, bool)
    is_visible[index], is_target[index] = masking.is_visible, masking.is_target
    unit = weight = groups = None
    if masking.unit is not None:
        unit = np.full(length, -1, np.int64)
        unit[index] = masking.unit
    if masking.weight is not None:
        weight = np.ones(length, np.float32)
        weight[index] = masking.weight
    if masking.groups is not None:
        groups = np.zeros((len(masking.groups), length), bool)
        groups[:, index] = masking.groups
    return dataclasses.replace(masking, is_visible=is_visible, is_target=is_target, unit=unit, weight=weight, groups=groups)
