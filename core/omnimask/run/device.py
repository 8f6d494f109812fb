"""Where a run computes."""

from __future__ import annotations

import torch

from omnimask.errors import UserError
from omnimask.recipe.config import Device


def choose_device(name: Device) -> torch.device:
    """The device that a recipe's ``device:`` means on this machine; ``auto`` is the first of cuda, mps, cpu that is there.

    Raises:
        UserError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available[name]:
        raise UserError(f"device: {_why_absent(name)}; set device=cpu, or device=auto for the best that is there")
    return torch.device(name)


def _why_absent(name: str) -> str:
    if name == "cuda" and torch.version.cuda is None:
        return f"cuda is asked for, and torch {torch.__version__} is built without CUDA"
    if name == "cuda":
        return (
            f"cuda is asked for, and torch {torch.__version__} (built for CUDA {torch.version.cuda}) finds no GPU that it can use"
        )
    return f"{name} is asked for, and torch {torch.__version__} finds no such device on this machine"
