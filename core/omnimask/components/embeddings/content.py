"""Scaling of stored content for networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnimask.interfaces import TokenSpec


class ContentScale(nn.Module):
    """``(content - mean) / std`` in float32, and its inverse. Mean and std come from the specification and are not trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32), persistent=False)

    def forward(self, content: Tensor) -> Tensor:
        """Scale (n, *width) in storage type to (n, *width) float32."""
        return (content.float() - self.mean) / self.std

    def inverse(self, scaled: Tensor) -> Tensor:
        """Convert (n, *width) scaled values to (n, *width) float32 in stored units."""
        return scaled.float() * self.std + self.mean
