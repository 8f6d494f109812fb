"""Masking by a score of each token."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.budget import num_hidden
from omnimask.components.maskers.fields import check_field
from omnimask.interfaces import Context, Draw, Masking, Tokens
from omnimask.interfaces.schedules import Ratio, value_at


class ScoredMasker:
    """Masking of the tokens with the highest or lowest scores, or in proportion to scores (Ask2Mask [0], Vega v2 [1]).

    The score is a token field: an external model's confidence, the loss of an earlier pass, a frequency. Ties are broken at random.
    ``sampled`` draws tokens one after another, in proportion to the scores of the remaining ones (Gumbel top-k [2]). Tokens without
    a score (NaN, -1 in an integer field) stay visible, as do tokens of score 0 with ``sampled``. If fewer candidates remain than
    the budget, fewer tokens are hidden.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it; relative to all tokens, including those without a score.
        field: the scores.
        pick: which tokens to hide.
        weighted: each target is weighted by the mean score of the sample's tokens, so that samples of low scores count less
            (Ask2Mask).

    [0] Baskar et al.: Ask2Mask: Guided Data Selection for Masked Speech Modeling, 2022. [1] Zhong et al.: Toward Efficient Language
    Model Pretraining and Downstream Adaptation via Self-Evolution, 2022. [2] Kool et al.: Stochastic Beams and Where to Find Them,
    2019, section 2.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")],
        field: Annotated[str, Field(description="field with the scores")] = "score",
        pick: Annotated[Literal["highest", "lowest", "sampled"], Field(description="choice of tokens by score")] = "highest",
        weighted: Annotated[bool, Field(description="weight targets by the sample's mean score")] = False,
    ) -> None:
        self.ratio, self.field, self.pick, self.weighted = ratio, field, pick, weighted
        check_field(context, "scored", field)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        ratio = value_at(self.ratio, draw)
        score = self._scores(tokens)
        key, noise = self._order(score, draw.uniform(len(score), "noise"))
        candidates = np.flatnonzero(key > -np.inf)
        order = candidates[np.lexsort((noise[candidates], -key[candidates]))]
        is_target = np.zeros(len(score), bool)
        is_target[order[: num_hidden(len(score), ratio, draw)]] = True
        held = score[~np.isnan(score)]
        weight = np.full(len(score), held.mean() if len(held) else 1.0, np.float32) if self.weighted else None
        return Masking(~is_target, is_target, weight=weight, level=ratio)

    def _scores(self, tokens: Tokens) -> NDArray[np.float64]:
        """Return (L,) scores, NaN if missing.

        Raises:
            ValueError: a score is negative where this is invalid.
        """
        values = np.asarray(tokens.fields[self.field])
        score = values.astype(np.float64)
        if values.dtype.kind != "f":
            score[values < 0] = np.nan
        if (self.pick == "sampled" or self.weighted) and np.any(score < 0):
            raise ValueError(
                f"field {self.field!r} contains the score {np.nanmin(score):g}; pick: sampled and weighted: true "
                "need scores of at least 0"
            )
        return score

    def _order(self, score: NDArray[np.float64], uniform: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (L,) sort key, the largest first and -inf never, and (L,) tie-breaking noise."""
        with np.errstate(divide="ignore"):
            key = {
                "highest": lambda: score,
                "lowest": lambda: -score,
                # Gumbel noise. Uniform numbers stay above 0, where the logarithm is infinite.
                "sampled": lambda: np.log(score) - np.log(-np.log(np.maximum(uniform, 2.0**-60))),
            }[self.pick]()
        return np.where(np.isnan(key), -np.inf, key), uniform
