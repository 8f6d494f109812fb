"""Stored content as the numbers that networks compute with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnimask.interfaces import TokenSpec


class ContentScale(nn.Module):
    """``(content - mean) / std`` in float32, and back; mean and std come from the specification and are no weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32), persistent=False)

    def forward(self, content: Tensor) -> Tensor:
        """(n, *width) in storage type -> (n, *width) float32, scaled."""
        return (content.float() - self.mean) / self.std

    def inverse(self, scaled: Tensor) -> Tensor:
        """(n, *width) scaled -> (n, *width) float32 in stored units."""
        return scaled.float() * self.std + self.mean
