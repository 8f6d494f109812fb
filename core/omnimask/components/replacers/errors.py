"""Mask tokens where an earlier pass was wrong, true ids where it was right. N targets, k slots."""

from __future__ import annotations

import torch
from torch import Tensor

from omnimask.components.replacers.base import ReplacesPredicted
from omnimask.components.targets.scores import best_ids
from omnimask.interfaces import Context, Prediction, Run, Stream


class Errors(ReplacesPredicted):
    """Shows the token where an earlier pass's most probable id is right, and what the view shows, a mask token, where it is wrong.

    The tokens that a model gets wrong are thus asked again, with more context (self-correction courses of MCL [0]).

    Args:
        by: the earlier pass.
        predictor: label of its predictor; default: its only one.

    [0] Chen et al.: Pre-training Language Model as a Multi-perspective Course Learner, 2023.
    """

    def __init__(self, context: Context, *, by: str, predictor: str | None = None) -> None:
        super().__init__(context, by, predictor)

    @torch.no_grad()
    def ids_of(self, prediction: Prediction, row: Tensor, stream: Stream, slots: Tensor, shown: Tensor, run: Run) -> Tensor:
        content = run.batch.store[prediction.modality].data
        true = content[(stream.source[slots] - run.batch.base[prediction.modality]).clamp(min=0)].to(shown.dtype)
        guessed = best_ids(prediction, max(1, self.specs[prediction.modality].vocabulary or 1))[row.clamp(min=0)]
        return torch.where((row >= 0) & (guessed == true), true, shown)
