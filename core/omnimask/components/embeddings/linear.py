"""Linear embedding of continuous tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnimask.components.embeddings.content import ContentScale
from omnimask.interfaces import Context, Module


class LinearEmbedding(Module):
    """Linear projection of a token's content, scaled according to its specification, to width D.

    Special tokens are learned vectors. The content keeps its storage type (``uint8``, for example) until here, so only the tokens
    to read are converted. Initialized like MAE: the linear layer with Xavier uniform, special rows from N(0, 0.02).
    """

    is_local = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        if spec.width is None:
            raise ValueError(f"embedding linear needs continuous tokens, but those of {name!r} are ids; use table")
        self.scale = ContentScale(spec)
        self.project = nn.Linear(math.prod(spec.width), context.width)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        rows = spec.num_special_rows
        self.special = nn.Parameter(torch.randn(rows, context.width) * 0.02) if rows else None
        self.no_weight_decay = {"special"}

    def forward(self, content: Tensor) -> Tensor:
        return self.project(self.scale(content).flatten(1))

    def ids(self, literal: Tensor) -> Tensor:
        if self.special is None:
            raise ValueError("no component of the recipe declares a special token for this modality")
        return self.special[literal]
