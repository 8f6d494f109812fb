"""Embedding of windows. n tokens, w values in each, D width."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.interfaces import Context, Module
from omnimask_timeseries.tokenizer import OBSERVED, VALUES

Hidden: TypeAlias = Literal["learned", "zeros"]


class ValueEmbedding(Module):
    """Embedding of windows: a linear map of the values, and a learned vector for each place with a missing value.

    The vectors distinguish windows with gaps from hidden windows, and gaps from values of 0. Matrices are initialized like
    PyTorch's linear layers, vectors for missing values from N(0, 0.02).

    Args:
        hidden: input in place of a hidden window: ``learned``: a vector of its own; ``zeros``: the embedding of a window of zeros
            without missing values, as in PatchTST [0].

    [0] Nie et al.: A Time Series is Worth 64 Words: Long-term Forecasting with Transformers, 2022.
    """

    is_local = True

    def __init__(self, context: Context, *, hidden: Hidden = "learned") -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        if spec.width is None or len(spec.width) != 2 or spec.width[0] != 2:
            raise ValueError(f"embedding timeseries.values requires tokens of timeseries.window; those of {name!r} differ")
        self.project = nn.Linear(spec.width[1], context.width)
        self.missing = nn.Parameter(torch.randn(spec.width[1], context.width) * 0.02)
        rows = spec.num_special_rows if hidden == "learned" else 0
        self.hidden = nn.Parameter(torch.randn(rows, context.width) * 0.02) if rows else None
        self.no_weight_decay = {"missing", "hidden"}

    def forward(self, content: Tensor) -> Tensor:
        values, is_missing = content[:, VALUES], 1 - content[:, OBSERVED]
        return self.project(values) + functional.linear(is_missing, self.missing.t())

    def ids(self, literal: Tensor) -> Tensor:
        """Embed (n,) special ids as (n, D) vectors."""
        if self.hidden is None:
            return self.project.bias.expand(len(literal), -1)
        return functional.embedding(literal, self.hidden)
