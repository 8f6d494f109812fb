"""Random choice of a masker for every sample."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import masked_by
from omnimask.component import Component
from omnimask.interfaces import Context, Draw, Masker, Masking, MaskingColumns, TokenColumns, Tokens

Weights = list[Annotated[float, Field(gt=0)]]


class ChooseMasker:
    """Random choice of one of several maskers for every sample (the mixture of UL2 [0]).

    The index of the masker is the masking's ``kind``, which the network's stream carries on.

    Args:
        maskers: to choose from.
        weights: relative probability of each; None: equal.

    [0] Tay et al.: UL2: Unifying Language Learning Paradigms, 2022.
    """

    def __init__(
        self,
        context: Context,
        *,
        maskers: Annotated[list[Component[Masker]], Field(min_length=1, description="choices")],
        weights: Annotated[Weights | None, Field(description="relative weight of each; default: equal")] = None,
    ) -> None:
        self.shares = shares_of(len(maskers), weights, "maskers")
        self.maskers = [masker(context) for masker in maskers]

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        branch = int(np.searchsorted(self.shares, draw.uniform(1, "branch")[0], side="right"))
        return dataclasses.replace(self.maskers[branch](tokens, draw.at(branch)), kind=branch)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns | None:
        """Mask all samples of a micro-batch at once."""
        uniform = tokens.draws.uniform(np.ones(tokens.num_samples), "branch")
        return masked_by(self.maskers, np.searchsorted(self.shares, uniform, side="right"), tokens)


def shares_of(count: int, weights: list[float] | None, what: str) -> NDArray[np.float64]:
    """Return (count,) cumulative shares, ending at 1.

    Raises:
        ValueError: the number of weights differs from ``count``.
    """
    if weights is not None and len(weights) != count:
        raise ValueError(f"{count} {what} need {count} weights, got {len(weights)}")
    total = np.cumsum(np.ones(count) if weights is None else np.asarray(weights, np.float64))
    return total / total[-1]
