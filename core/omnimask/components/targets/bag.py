"""Bag of a sample's ids as a target. B samples, S sequences, V outputs, P tokens of one modality."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Context, Prediction, Run
from omnimask.packed import index_tensor


class Bag:
    """The set of a sample's ids, each weighted by one over the number of tokens, by cross-entropy over all ids (RetroMAE-2 [0]).

    Special tokens that frame a sample are excluded.

    [0] Liu et al.: RetroMAE-2: Duplex Masked Auto-Encoder For Pre-Training Retrieval-Oriented Language Models, 2023, section 3.2;
    the weight is that of the reference implementation.
    """

    def __init__(self, context: Context) -> None:
        (self.name,) = context.modalities
        spec = context.specs[self.name]
        if spec.vocabulary is None:
            raise ValueError(f"a bag needs ids, but the tokens of {self.name!r} are continuous")
        self.num_outputs = spec.num_answers

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (S, V) weight of each id in each sequence of the context."""
        packed, layout = run.batch.store[self.name], prediction.context.layout
        device, samples = packed.data.device, packed.layout.num_sequences
        owner = index_tensor(np.repeat(np.arange(samples), packed.layout.lengths), device)
        is_ordinary = ordinary(run, self.name).float()
        count = torch.zeros(samples, device=device).index_add(0, owner, is_ordinary)
        occurs = torch.zeros(samples * self.num_outputs, device=device)
        # (B, V) flattened. The maximum counts an id once, however often it occurs.
        occurs = occurs.scatter_reduce(0, owner * self.num_outputs + packed.data, is_ordinary, "amax").unflatten(0, (samples, -1))
        # (B, V) to (S, V)
        return (occurs / count.clamp(min=1)[:, None])[index_tensor(layout.parent, device)]

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        scores = prediction.head(prediction.features).float()
        return answers.sum(1) * scores.logsumexp(1) - (answers * scores).sum(1)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a set cannot be rendered."""


def ordinary(run: Run, modality: str) -> Tensor:
    """Return (P,) True for tokens of a modality except special tokens."""
    special = run.batch.fields[modality].get("special")
    if special is None:
        return torch.ones(len(run.batch.store[modality].data), dtype=torch.bool, device=run.batch.store[modality].data.device)
    return ~special.bool()
