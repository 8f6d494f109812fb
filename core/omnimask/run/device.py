"""Device of a run."""

from __future__ import annotations

import torch

from omnimask.errors import UserError
from omnimask.recipe.config import Device
from omnimask.training.devices.ranks import Ranks


def choose_device(name: Device, ranks: Ranks | None = None) -> torch.device:
    """Return the device for a recipe's ``device:`` on this machine. ``auto`` is the first available one of cuda, mps, cpu.

    With several ranks, each has its own CUDA device, and all share the CPU.

    Raises:
        UserError: the requested device is unavailable, or this machine has fewer devices than ranks.
    """
    ranks = ranks or Ranks()
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind] and (kind != "mps" or ranks.world == 1))
    if not available[name]:
        raise UserError(f"device: {_why_absent(name)}; set device=cpu, or device=auto to choose an available one")
    if ranks.world == 1 or name == "cpu":
        return torch.device(name)
    if name == "mps":
        raise UserError(
            "device: mps is a single device and cannot be shared by several processes; set device=cpu, or start one process"
        )
    if ranks.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"device: {ranks.local_rank + 1} processes or more for {torch.cuda.device_count()} GPUs; start one process per GPU"
        )
    torch.cuda.set_device(ranks.local_rank)
    return torch.device(name, ranks.local_rank)


def _why_absent(name: str) -> str:
    if name == "cuda" and torch.version.cuda is None:
        return f"cuda requested, but torch {torch.__version__} is built without CUDA"
    if name == "cuda":
        return f"cuda requested, but torch {torch.__version__} (built for CUDA {torch.version.cuda}) finds no usable GPU"
    return f"{name} requested, but torch {torch.__version__} finds no such device on this machine"
