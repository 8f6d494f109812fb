"""Cells as vectors. n cells, D width."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.interfaces import Context, Module
from omnimask_tabular.schema import FIRST_CATEGORY, NUMBER
from omnimask_tabular.tokenizer import num_categories


class CellEmbedding(Module):
    """A learned vector for every category of every column, a linear map of one number for all columns of numbers, and a vector for
    values that are missing [0].

    Which column a cell belongs to is the business of the encoder's position (``learned``). A hidden cell shows a vector of its own,
    so that it differs from a missing one. All begin as N(0, 0.02).

    [0] Du et al.: TIP: Tabular-Image Pre-training for Multimodal Classification with Incomplete Data, 2024, section 3.1; there
    hidden cells share the vector of missing ones.
    """

    is_local = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        (name,) = context.modalities
        spec = context.specs[name]
        rows = FIRST_CATEGORY - NUMBER + num_categories(spec, "embedding tabular.cell")
        self.kinds = nn.Parameter(torch.randn(rows, context.width) * 0.02)
        self.number = nn.Parameter(torch.randn(context.width) * 0.02)
        self.hidden = nn.Parameter(torch.randn(spec.num_special_rows, context.width) * 0.02) if spec.num_special_rows else None
        self.no_weight_decay = {"kinds", "hidden"}

    def forward(self, content: Tensor) -> Tensor:
        number, kind = content.float().unbind(1)
        return functional.embedding(kind.long() - NUMBER, self.kinds) + number[:, None] * self.number

    def ids(self, literal: Tensor) -> Tensor:
        """(n,) special ids -> (n, D)."""
        if self.hidden is None:
            raise ValueError("no component of the recipe declares a special token for this modality")
        return functional.embedding(literal, self.hidden)
