"""Whether a slot shows another token than the one it stands for. N targets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run


class WasReplaced(Module):
    """Judges of each slot whether it shows something else than the token it stands for, by binary cross-entropy.

    It is the target of ELECTRA [0] and of random token substitution [1].

    A slot that shows an id is compared with its token; for modalities whose tokens are ids. A mask token counts as replaced. A
    replacement that happens to be the token itself does not. A row for a whole unit says itself whether the unit was replaced: its
    ``literal`` is 0 where it was not (the corruptor ``replace_units``; a predictor with ``units: true`` asks). ``accuracy``
    counts answers on the right side of a half.

    [0] Clark et al.: ELECTRA, 2020. [1] Di Liello et al.: Effective Pretraining Objectives for Transformer-based Autoencoders,
    2022.
    """

    num_outputs = 1

    def __init__(self, context: Context) -> None:
        super().__init__()
        (self.name,) = context.modalities
        if context.specs[self.name].vocabulary is None:
            raise ValueError(f"target was_replaced compares ids, and the tokens of {self.name!r} have continuous content")

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """(N,) bool."""
        table, content = prediction.targets, run.batch.store[self.name].data
        shown = prediction.stream.literal[table.at[:, 0]]
        if len(content):
            is_other = (shown >= 0) & (shown != content[(table.of - run.batch.base[self.name]).clamp(min=0)])
        else:
            is_other = torch.zeros_like(shown, dtype=torch.bool)
        return is_other if table.index is None else torch.where(table.index < 0, table.literal > 0, is_other)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        logits = prediction.head(prediction.features).squeeze(1).float()
        return functional.binary_cross_entropy_with_logits(logits, answers.float(), reduction="none")

    def content(self, prediction: Prediction, run: Run) -> None:
        """None: a judgement is no content."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """``accuracy`` (N,)."""
        logits = prediction.head(prediction.features).squeeze(1)
        return {"accuracy": ((logits > 0) == answers).float()}
