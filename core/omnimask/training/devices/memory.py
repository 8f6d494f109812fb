"""Out-of-memory errors, reported with helpful options and their values."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from omnimask.errors import RunStopped
from omnimask.interfaces import MaskedBatch
from omnimask.training.config import TrainConfig

_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""Messages of torch's out-of-memory errors without a class of their own."""


@contextmanager
def explained(
    batches: Sequence[MaskedBatch],
    config: TrainConfig,
    run: Path,
    doing: str,
    slots_per_token: Callable[[MaskedBatch], float] | None = None,
) -> Generator[None]:
    """Convert an out-of-memory error inside the ``with`` block into a ``RunStopped`` with remedies.

    Args:
        batches: the micro-batches of a training step; empty for a validation.
        config: the recipe's ``train:``.
        run: the run directory.
        doing: the operation, for the message: ``step 12``.
        slots_per_token: returns the memory that a token of a micro-batch costs, in slots of the encoder; None for one slot.

    Raises:
        RunStopped: the device or the host ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunStopped(
            f"out of memory in {doing}: {_remedies(batches, config, slots_per_token)}; earlier checkpoints are intact, continue "
            f"with `omnimask resume {run}` and that change. Cause: {reason}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory, on host or device. Torch has a separate class for CUDA only."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def _remedies(batches: Sequence[MaskedBatch], config: TrainConfig, slots_per_token: Callable[[MaskedBatch], float] | None) -> str:
    if not batches:
        return f"lower train.micro_batch_tokens (now {config.micro_batch_tokens}), which does not change results"
    largest = max(batches, key=lambda batch: batch.num_tokens)
    remedies: list[str] = []
    if largest.num_samples > 1:
        remedies.append(f"train.micro_batch_tokens={max(1, largest.num_tokens // 2)} (gradients stay the same)")
    if not config.activation_checkpointing:
        remedies.append("train.activation_checkpointing=true (slower)")
    held = f"a micro-batch had {largest.num_tokens:,} tokens, {largest.num_samples:,} sample{'s' * (largest.num_samples > 1)}"
    if slots_per_token is not None and (slots := slots_per_token(largest)) >= 1.05:
        held += f", and a token costs {slots:.1f} slots of the encoder, because several views have gradients, or one repeats"
    if remedies:
        return f"{held}; set {', or '.join(remedies)}"
    return f"{held}; use smaller samples, a smaller model, or a device with more memory"
