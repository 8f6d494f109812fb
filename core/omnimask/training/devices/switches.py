"""Switches for the computation of a model without effect on its result: compilation, recomputation, determinism."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from omnimask.errors import UserError


def compile_blocks(model: nn.Module) -> None:
    """Compile, in place, every module with ``compile_me = True``.

    Raises:
        UserError: no module declares it.
    """
    blocks = [module for module in model.modules() if getattr(module, "compile_me", False)]
    if not blocks:
        raise UserError("train.compile: no module of this model supports it; set it to false")
    for block in blocks:
        block.compile(dynamic=True)


def checkpoint_activations(model: nn.Module) -> None:
    """Call ``set_activation_checkpointing(True)`` on every module with this method.

    Raises:
        UserError: no module has it.
    """
    setters = [getattr(module, "set_activation_checkpointing", None) for module in model.modules()]
    if not any(setters):
        raise UserError("train.activation_checkpointing: no module of this model supports it; set it to false")
    for setter in setters:
        if setter is not None:
            setter(True)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers to 0 on the CPU inside the ``with`` block, if supported.

    Without this, a step with peaked softmaxes takes about 20 times as long.
    """
    were_flushed = bool(torch.tensor(5e-324, dtype=torch.float64).mul(1) == 0)  # torch has no function that tells
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_flushed)


@contextmanager
def determinism(is_wanted: bool) -> Iterator[None]:
    """Restrict torch to deterministic kernels inside the ``with`` block; operations without one raise."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if is_wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
