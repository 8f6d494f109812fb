"""The `train:` section of a recipe: its keys and their documentation. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[str, Field(pattern=r"^(100|\d{1,2}(\.\d+)?)%$")]
"""Share of the run: ``5%``."""


class BaseRate(BaseModel):
    """Learning rate proportional to the batch: ``lr`` at a batch of ``tokens``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: Annotated[float, Field(gt=0, description="peak learning rate at a batch of `tokens`")]
    tokens: Annotated[int, Field(gt=0, description="batch that `lr` is meant for, in tokens before masking")]

    def rate(self, batch_tokens: int) -> float:
        """Return the peak learning rate for a batch."""
        return self.lr * (batch_tokens / self.tokens)


class TrainConfig(BaseModel):
    """Options of the training loop. The field descriptions are the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    steps: Annotated[int, Field(gt=0, description="optimiser steps of the whole run")]
    batch_tokens: Annotated[int, Field(gt=0, description="tokens per optimiser step before masking, over all ranks")]
    micro_batch_tokens: Annotated[
        Annotated[int, Field(gt=0)] | Literal["auto"], Field(description="memory knob: tokens per forward pass on one device")
    ] = "auto"
    base_lr: Annotated[
        BaseRate | None,
        Field(
            description="{lr, tokens}: the optimizer's peak learning rate is lr x batch_tokens / tokens, without an lr of its own"
        ),
    ] = None
    optimizer: Annotated[Any, Field(description="an optimizer component")] = None
    schedule: Annotated[Any, Field(description="a schedule component: learning rate as a factor of the peak")] = None
    clip: Annotated[Annotated[float, Field(gt=0)] | None, Field(description="largest gradient norm; null: no clipping")] = None
    ema: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None, Field(description="decay of averaged weights, which are then validated")
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], Field(description="auto: fp32 on CPU, bf16 where the device has it, else fp16")
    ] = "auto"
    compile: Annotated[bool, Field(description="torch.compile the blocks")] = False
    activation_checkpointing: Annotated[bool, Field(description="recompute blocks in the backward pass to save memory")] = False
    deterministic: Annotated[bool, Field(description="bit-identical weights on CUDA too, as always on the CPU; slower")] = False
    distributed: Annotated[
        Literal["ddp", "fsdp"],
        Field(
            description="how several devices hold the model: ddp: each holds all of it; fsdp: each holds a share of weights, "
            "gradients and optimiser state, and gathers weights block by block (for models that are too large for one)"
        ),
    ] = "ddp"
    timeout: Annotated[
        float, Field(gt=0, description="seconds that a process waits for the others before it takes one for lost and ends")
    ] = 600.0
    workers: Annotated[int, Field(ge=0, description="loader processes; 0 loads in the main process")] = 0
    threads: Annotated[
        Annotated[int, Field(gt=0, le=4096)] | Literal["auto"],
        Field(
            description="threads that compute on the host; auto: the cores that the process may use, less the loader processes, "
            "unless OMP_NUM_THREADS is set. A resumed run keeps its number"
        ),
    ] = "auto"
    log_every: Annotated[int, Field(gt=0, description="steps between lines of metrics.jsonl")] = 10
    validate_every: Annotated[int, Field(gt=0, description="steps between validations")] = 500
    validate_share: Annotated[
        Share,
        Field(
            description="largest share of the run's work that validations may take: where scoring all held-out samples would take "
            "more, fewer are scored, the same ones each time; 100%: no limit"
        ),
    ] = "10%"
    patience: Annotated[
        Annotated[int, Field(gt=0)] | None,
        Field(description="the run ends after so many validations in a row without a smaller loss; null: it takes all its steps"),
    ] = None
    checkpoint_every: Annotated[int, Field(gt=0, description="steps between checkpoints")] = 500
    keep_checkpoints: Annotated[int, Field(ge=2, description="how many of the newest checkpoints are kept, beside the best")] = 2
    tensorboard: Annotated[bool, Field(description="write TensorBoard events too; needs omnimask[tensorboard]")] = False


def rate_by_batch(config: TrainConfig) -> str | None:
    """Return the peak learning rate and its derivation from the batch as text, or None without ``base_lr``."""
    if config.base_lr is None:
        return None
    lr, batch, tokens = config.base_lr.rate(config.batch_tokens), config.batch_tokens, config.base_lr.tokens
    return f"{lr:.4g} = {config.base_lr.lr:g} x {batch:,} / {tokens:,} tokens"
