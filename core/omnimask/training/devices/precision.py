"""Number format of the forward pass. Weights and optimizer state stay fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from omnimask.errors import UserError

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


class Precision:
    """Precision policy of a run.

    Args:
        name: ``auto`` is fp32 on CPU, bf16 if the device supports it, else fp16 with a loss scaler.
        device: of the model.

    Raises:
        UserError: the device does not support bf16.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.device = device
        self.name = automatic(device) if name == "auto" else name
        if self.name == "bf16" and not has_bfloat16(device):
            raise UserError(f"train.precision: this {device.type} device does not support bf16; use fp16, fp32 or auto")
        self.scaler = GradScaler(device.type) if self.name == "fp16" else None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context manager for a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)


def automatic(device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Return the precision selected by ``auto`` on a device."""
    if device.type == "cpu":
        return "fp32"
    return "bf16" if has_bfloat16(device) else "fp16"


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device supports bf16 natively (a CPU always does, slowly)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def remedies(clip: float | None, precision: Precision) -> str:
    """Return remedies for non-finite numbers besides the learning rate, without those already in use."""
    found = ["set train.clip"] if clip is None else []
    found += [] if precision.name == "fp32" else ["set train.precision to fp32"]
    return "".join(f", or {remedy}" for remedy in found)
