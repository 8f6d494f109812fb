"""Switches for the computation of a model without effect on its result: compilation, recomputation, determinism."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
def determinism(is_wanted: bool, device: torch.device) -> Iterator[None]:
    """Restrict torch to deterministic kernels inside the ``with`` block.

    On the CPU they are always used, at no cost. Otherwise several threads add the gradients of a repeatedly indexed row in any
    order.

    Args:
        is_wanted: also use them on other devices, and raise for operations without one.
        device: of the model.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its attribute is a property that type checkers miss
    benchmark, fill = torch.backends.cudnn.benchmark, memory.fill_uninitialized_memory
    if is_wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
        torch.backends.cudnn.benchmark = False
    if is_wanted or device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=not is_wanted)
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = fill
