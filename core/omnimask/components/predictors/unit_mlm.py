"""Prediction of whole units at slots that replace several tokens. N targets, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field

from omnimask.component import Component
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.errors import BrokenContract
from omnimask.interfaces import Context, MaskedBatch, Target, Targets, View


class UnitMLM(MaskedLM):
    """Masked language modeling head over whole units (the coarse head of ERNIE-Gram [0]).

    Linear layer, GELU, norm, then a logit for every unit.

    It answers the rows for whole units, which are written by a corruptor with one slot per unit (``unit_token``). Units have no
    embedding, so the output matrix is not tied.

    Args:
        target: correct answers and their loss: ``unit_ids``.
        bias: whether the linear layer and the norm before the logits have biases; the logits have one.
        norm_eps: epsilon of the norm.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020, section 3.
    """

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__(context, target=target, tied=False, bias=bias, norm_eps=norm_eps)

    def select(self, view: View) -> Mapping[str, Targets]:
        return self.select_units(view)

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        """Return divisors by term. Raise ``BrokenContract`` if the masker numbers more units than the target has outputs."""
        selected = self.select(view)
        for m in self.context.modalities:
            literal, outputs = selected[self.term(m)].literal, self.target(m).num_outputs
            # Reading the maximum would synchronize other devices.
            if len(literal) and torch.as_tensor(literal).device.type == "cpu" and int(literal.max()) >= outputs:
                found = int(literal.max()) - (self.context.specs[m].vocabulary or 0) + 1
                raise BrokenContract(
                    f"predictor {self.term(m)}: the masker has at least {found} units of {m!r}, but the target "
                    f"has {outputs} outputs, including the vocabulary; raise the target's num_units to the size "
                    "of the masker's lexicon"
                )
        return super().counts(batch, view)
