"""Shared functions of the contracts: requirements with a remedy, comparison of nested data, and draws."""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnimask.interfaces import Draw

DRAW = Draw(seed=0, epoch=0, key="sample")


def require(condition: bool, message: str) -> None:
    """Fail a test with a message for the plugin's author unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def draws(count: int, *, seed: int = 0) -> list[Draw]:
    """Return draws of ``count`` different samples."""
    return [Draw(seed=seed, epoch=0, key=f"sample-{number}", position=number) for number in range(count)]


def same(left: Any, right: Any) -> bool:
    """Return whether two values are bit-identical: arrays, tensors, frozen dataclasses, mappings and sequences of them.

    NaN equals NaN, since an absent label or field is NaN.
    """
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        is_nan = left.isnan() & right.isnan()
        return bool(((left == right) | is_nan).all())
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        equal_nan = left.dtype.kind in "fc"
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=equal_nan)
    if type(left) is not type(right):
        return False
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, Sequence) and not isinstance(left, str | bytes):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) or (isinstance(left, float) and left != left and right != right)


def require_picklable(value: Any, what: str) -> Any:
    """Return the value after pickling and unpickling, as for a loader worker."""
    try:
        return pickle.loads(pickle.dumps(value))  # noqa: S301
    except Exception as error:
        raise AssertionError(
            f"{what} cannot be pickled ({type(error).__name__}: {error}); loader workers need it pickled: no open "
            "files, locks, lambdas or local functions in attributes"
        ) from error


def require_value_error(action: Callable[[], Any], what: str) -> None:
    """Check that an action raises ``ValueError`` with a message. Only this makes a sample bad instead of stopping the run."""
    try:
        action()
    except ValueError as error:
        require(bool(str(error).strip()), f"{what}: the ValueError has no message; describe the problem and the remedy")
    except Exception as error:
        raise AssertionError(
            f"{what}: raised {type(error).__name__}: {error}; raise ValueError for unusable values, so that the "
            "sample is skipped and counted"
        ) from error
    else:
        raise AssertionError(f"{what}: accepted without an error; check the value and raise ValueError")


def disturb_global_randomness(seed: int) -> None:
    """Change the state of the generators forbidden to components."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def distance(left: Tensor, right: Tensor) -> float:
    """Return the norm of the difference over the norm of ``right`` (or 1 if it is 0)."""
    left, right = left.detach().double(), right.detach().double()
    return float((left - right).norm()) / (float(right.norm()) or 1.0)


def gradient(model: nn.Module) -> Tensor:
    """Return all gradients as one vector, with zeros for parameters without one."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters() if p.requires_grad]
    return torch.cat([part.detach().flatten().float() for part in parts])
