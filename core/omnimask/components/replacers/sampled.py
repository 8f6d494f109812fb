"""Ids drawn from the predictions of an earlier pass. N targets, V ids, k slots."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.replacers.base import ReplacesPredicted
from omnimask.components.targets.scores import logits_of
from omnimask.interfaces import Context, Prediction, Run, Stream


class Sampled(ReplacesPredicted):
    """Shows ids drawn from an earlier pass's predictions, at the slots it was asked about (ELECTRA [0]).

    A slot's draw depends on its own keyed number alone, so it is the same however a step is divided. Special tokens are never
    drawn. No gradient passes.

    Args:
        by: the earlier pass.
        predictor: label of its predictor; default: its only one.
        temperature: divides the logits.

    [0] Clark et al.: ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, 2020.
    """

    needs_noise = True

    def __init__(
        self, context: Context, *, by: str, predictor: str | None = None, temperature: Annotated[float, Field(gt=0)] = 1.0
    ) -> None:
        super().__init__(context, by, predictor)
        self.temperature = temperature

    @torch.no_grad()
    def ids_of(self, prediction: Prediction, row: Tensor, stream: Stream, slots: Tensor, shown: Tensor, run: Run) -> Tensor:
        assert stream.noise is not None
        vocabulary = self.specs[prediction.modality].vocabulary
        if vocabulary is None:
            raise ValueError(f"replacer sampled draws ids, but the tokens of {prediction.modality!r} are continuous")
        is_asked = row >= 0
        # Rows about which no slot asks have a number, too, which nobody reads.
        noise = torch.zeros(len(prediction.targets) + 1, dtype=torch.float64, device=shown.device)
        noise = noise.index_copy(0, torch.where(is_asked, row, len(prediction.targets)), stream.noise[slots])
        drawn = draw_ids(prediction, noise[:-1], vocabulary, self.temperature)
        return torch.where(is_asked, drawn[row.clamp(min=0)], shown)


def draw_ids(prediction: Prediction, noise: Tensor, vocabulary: int, temperature: float = 1.0) -> Tensor:
    """Return (N,) ids drawn from predicted probabilities by inversion of their cumulative sum, in float64.

    Args:
        prediction: its head gives at least ``vocabulary`` logits.
        noise: (N,) float64 uniform in [0, 1).
        vocabulary: V; later logits are not drawn.
        temperature: divides the logits.
    """
    parts: list[Tensor] = []
    first = 0
    for logits in logits_of(prediction, max(vocabulary, 1)):
        cumulative = (logits[:, :vocabulary].double() / temperature).softmax(1).cumsum(1)
        wanted = noise[first : first + len(logits), None] * cumulative[:, -1:]
        parts.append(torch.searchsorted(cumulative, wanted, right=True).squeeze(1).clamp(max=vocabulary - 1))
        first += len(logits)
    return torch.cat(parts)
