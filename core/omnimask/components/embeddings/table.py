"""Table embedding of ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.interfaces import Context, Module


class TableEmbedding(Module):
    """One learned row per id, followed by one per special token; initialized from N(0, 0.02).

    Soft ids (n, vocabulary), or (n, rows) with special tokens, give weighted means of rows.
    """

    is_local = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        if spec.vocabulary is None:
            raise ValueError(f"embedding table needs ids, but the tokens of {name!r} are continuous; use linear")
        self.weight = nn.Parameter(torch.randn(spec.vocabulary + spec.num_special_rows, context.width) * 0.02)
        self.no_weight_decay = {"weight"}

    def forward(self, content: Tensor) -> Tensor:
        if content.is_floating_point():
            # Soft ids cover the vocabulary; rows of special tokens follow it.
            return content @ self.weight[: content.shape[1]]
        return functional.embedding(content, self.weight)

    def ids(self, literal: Tensor) -> Tensor:
        return self(literal) if literal.is_floating_point() else functional.embedding(literal, self.weight)
