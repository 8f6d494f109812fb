"""Comparison of two batches, field by field, dtype by dtype."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch


def differences(left: Any, right: Any, path: str = "batch") -> list[str]:
    """Names of the fields that differ in type, shape, dtype or a bit, NaN being equal to NaN."""
    if type(left) is not type(right):
        return [f"{path}: {type(left).__name__} and {type(right).__name__}"]
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return [line for name in names for line in differences(getattr(left, name), getattr(right, name), f"{path}.{name}")]
    if isinstance(left, dict):
        if list(left) != list(right):
            return [f"{path}: {list(left)} and {list(right)}"]
        return [line for key in left for line in differences(left[key], right[key], f"{path}[{key}]")]
    if isinstance(left, torch.Tensor):
        left, right = left.numpy(), right.numpy()
    if isinstance(left, np.ndarray):
        is_same = (
            left.dtype == right.dtype
            and left.shape == right.shape
            and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
        )
        return [] if is_same else [f"{path}: {left.dtype} {left.shape} and {right.dtype} {right.shape}"]
    return [] if left == right else [f"{path}: {left!r} and {right!r}"]
