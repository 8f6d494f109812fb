"""Replaced-token detection. N targets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run


class WasReplaced(Module):
    """Detection of replaced tokens by binary cross-entropy: whether a slot shows something other than the token it stands for.

    It is the target of ELECTRA [0] and of random token substitution [1].

    A slot that shows an id is compared with its token, for modalities with ids. A mask token counts as replaced. A replacement
    equal to the token does not. A row for a whole unit carries its answer: its ``literal`` is 0 if the unit was not replaced
    (corruptor ``replace_units``; a predictor with ``units: true`` asks for it). ``accuracy`` thresholds the probability at a half.

    [0] Clark et al.: ELECTRA, 2020. [1] Di Liello et al.: Effective Pretraining Objectives for Transformer-based Autoencoders,
    2022.
    """

    num_outputs = 1

    def __init__(self, context: Context) -> None:
        super().__init__()
        (self.name,) = context.modalities
        if context.specs[self.name].vocabulary is None:
            raise ValueError(f"target was_replaced compares ids, but the tokens of {self.name!r} are continuous")

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N,) bool."""
        table, content = prediction.targets, run.batch.store[self.name].data
        shown = prediction.stream.literal[table.at[:, 0]]
        if len(content):
            # Negative ids show the token itself. A row of a unit has no token; its clamped index is read and discarded.
            is_other = (shown >= 0) & (shown != content[(table.of - run.batch.base[self.name]).clamp(min=0)])
        else:
            is_other = torch.zeros_like(shown, dtype=torch.bool)
        return is_other if table.index is None else torch.where(table.index < 0, table.literal > 0, is_other)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        logits = prediction.head(prediction.features).squeeze(1).float()
        return functional.binary_cross_entropy_with_logits(logits, answers.float(), reduction="none")

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a binary decision cannot be rendered."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """Return ``accuracy`` (N,)."""
        logits = prediction.head(prediction.features).squeeze(1)
        return {"accuracy": ((logits > 0) == answers).float()}
