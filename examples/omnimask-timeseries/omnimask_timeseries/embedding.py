"""Windows as vectors. n tokens, w values in each, D width."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.interfaces import Context, Module
from omnimask_timeseries.tokenizer import OBSERVED, VALUES

Hidden: TypeAlias = Literal["learned", "zeros"]


class ValueEmbedding(Module):
    """A linear map of a window's values, and a learned vector for every place of it where a value is missing.

    So a window with gaps is told apart from one that was hidden, and a gap from a value of 0. Matrices begin as PyTorch's linear
    layers, vectors for missing values as N(0, 0.02).

    Args:
        hidden: what the network reads in the place of a hidden window: ``learned``: a vector of its own; ``zeros``: what a window
            of zeros, none of them missing, is mapped to, as in PatchTST [0].

    [0] Nie et al.: A Time Series is Worth 64 Words: Long-term Forecasting with Transformers, 2022.
    """

    is_local = True

    def __init__(self, context: Context, *, hidden: Hidden = "learned") -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        if spec.width is None or len(spec.width) != 2 or spec.width[0] != 2:
            raise ValueError(f"embedding timeseries.values reads tokens of timeseries.window, not those of {name!r}")
        self.project = nn.Linear(spec.width[1], context.width)
        self.missing = nn.Parameter(torch.randn(spec.width[1], context.width) * 0.02)
        rows = spec.num_special_rows if hidden == "learned" else 0
        self.hidden = nn.Parameter(torch.randn(rows, context.width) * 0.02) if rows else None
        self.no_weight_decay = {"missing", "hidden"}

    def forward(self, content: Tensor) -> Tensor:
        values, is_missing = content[:, VALUES], 1 - content[:, OBSERVED]
        return self.project(values) + functional.linear(is_missing, self.missing.t())

    def ids(self, literal: Tensor) -> Tensor:
        """(n,) special ids -> (n, D)."""
        if self.hidden is None:
            return self.project.bias.expand(len(literal), -1)
        return functional.embedding(literal, self.hidden)
