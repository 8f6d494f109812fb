"""Tensors as they travel between processes: one element if all are equal, and integers in the smallest type that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGERS = (torch.int8, torch.int16, torch.int32)
_WIDE = (torch.int64, torch.int32, torch.int16)
_BY_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_LEAST = 64
"""Number of bytes up to which a tensor travels as it is."""


@dataclass(frozen=True)
class TensorKind:
    """Type and shape of a tensor. ``is_constant``: all elements are equal, and it needs the memory of one, with strides of 0."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    is_constant: bool = False

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the elements in memory."""
        return (1,) if self.is_constant else self.shape

    @property
    def stored_bytes(self) -> int:
        """Memory of the elements."""
        return math.prod(self.stored_shape) * self.dtype.itemsize

    def of_stored(self, tensor: Tensor) -> Tensor:
        """Return the tensor whose elements in memory are given."""
        return tensor.expand(self.shape) if self.is_constant else tensor


def narrowed(tensor: Tensor) -> tuple[Tensor, TensorKind]:
    """Return the elements of a contiguous CPU tensor as they travel, and what they become."""
    shape = tuple(tensor.shape)
    if tensor.nbytes <= _LEAST:
        return tensor, TensorKind(tensor.dtype, shape)
    if _is_constant(tensor):
        return tensor.reshape(-1)[:1], TensorKind(tensor.dtype, shape, is_constant=True)
    kind = TensorKind(tensor.dtype, shape)
    if tensor.dtype not in _WIDE:
        return tensor, kind
    low, high = (int(bound) for bound in torch.aminmax(tensor))
    for dtype in _INTEGERS[: _INTEGERS.index(tensor.dtype) if tensor.dtype in _INTEGERS else None]:
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return tensor.to(dtype), kind
    return tensor, kind


def _is_constant(tensor: Tensor) -> bool:
    """Return whether all elements have the same bits."""
    as_integer = _BY_SIZE.get(tensor.element_size())
    if as_integer is None:
        return False
    flat = tensor.reshape(-1).view(as_integer)
    first = flat[0]
    if bool(flat[-1] != first) or bool(flat[len(flat) // 2] != first):  # most are not, and this tells it soon
        return False
    return bool((flat == first).all())
