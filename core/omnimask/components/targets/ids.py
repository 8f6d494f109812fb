"""Token ids as a target. N targets, V outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from omnimask.components.targets.cross_entropy import head_cross_entropy
from omnimask.components.targets.scores import best_ids, rank_ids, score_ids
from omnimask.interfaces import Context, Module, Prediction, Run


class Ids(Module):
    """The token's id (or a literal answer: a sentinel, an end token), by cross-entropy in float32.

    Literal answers are ids after the vocabulary. The head has outputs for those declared by corruptors as possible answers.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        if spec.vocabulary is None:
            raise ValueError(f"target ids needs ids, but the tokens of {name!r} are continuous; use patch")
        self.name, self.num_outputs = name, spec.num_answers

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        table = prediction.targets
        content = run.batch.store[self.name].data
        if not len(content):
            return table.literal
        token = content[(table.of - run.batch.base[self.name]).clamp(min=0)]
        return torch.where(table.literal >= 0, table.literal, token)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        return head_cross_entropy(prediction.features, prediction.head, answers)

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        return best_ids(prediction, self.num_outputs)

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        return score_ids(prediction, answers, self.num_outputs)

    def candidates(self, prediction: Prediction, count: int) -> tuple[Tensor, Tensor]:
        return rank_ids(prediction, count, self.num_outputs)
