"""The `train:` section of a recipe: its keys and their documentation. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _percentage(text: str) -> str:
    if not re.fullmatch(r"(100|\d{1,2}(\.\d+)?)%", text):
        raise ValueError("must be a percentage like 5%")
    return text


Share = Annotated[str, AfterValidator(_percentage)]
"""Share of the run: ``5%``."""


class BaseRate(BaseModel):
    """Learning rate proportional to the batch: ``lr`` at a batch of ``tokens``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: Annotated[float, Field(gt=0, description="peak learning rate at a batch of `tokens`")]
    tokens: Annotated[int, Field(gt=0, description="reference batch size of `lr`, in tokens before masking")]

    def rate(self, batch_tokens: int) -> float:
        """Return the peak learning rate for a batch."""
        return self.lr * (batch_tokens / self.tokens)


class TrainConfig(BaseModel):
    """Options of the training loop. The field descriptions are the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    steps: Annotated[int, Field(gt=0, description="optimizer steps of the run")]
    batch_tokens: Annotated[int, Field(gt=0, description="tokens per optimizer step before masking, over all ranks")]
    micro_batch_tokens: Annotated[
        Annotated[int, Field(gt=0)] | Literal["auto"],
        Field(description="tokens per micro-batch and device; auto: by device and memory of a token; lower it to save memory"),
    ] = "auto"
    base_lr: Annotated[
        BaseRate | None,
        Field(description="{lr, tokens}: sets the optimizer's peak learning rate to lr x batch_tokens / tokens, instead of its lr"),
    ] = None
    optimizer: Annotated[Any, Field(description="optimizer")] = None
    schedule: Annotated[Any, Field(description="learning-rate schedule")] = None
    clip: Annotated[Annotated[float, Field(gt=0)] | None, Field(description="maximum gradient norm; null: no clipping")] = None
    ema: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None, Field(description="decay of averaged weights, which are used for validation")
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], Field(description="auto: fp32 on CPU, bf16 if the device supports it, else fp16")
    ] = "auto"
    compile: Annotated[bool, Field(description="torch.compile the blocks")] = False
    activation_checkpointing: Annotated[bool, Field(description="recompute blocks in the backward pass to save memory")] = False
    deterministic: Annotated[bool, Field(description="bit-identical weights on CUDA too, as always on the CPU; slower")] = False
    distributed: Annotated[
        Literal["ddp", "fsdp"],
        Field(
            description=(
                "ddp: the model is replicated; fsdp: weights, gradients and optimizer state are sharded (for models "
                "too large for one device)"
            )
        ),
    ] = "ddp"
    timeout: Annotated[
        float, Field(gt=0, description="seconds to wait for other ranks before a rank is considered lost and the run aborts")
    ] = 600.0
    workers: Annotated[int, Field(ge=0, description="loader workers; 0: load in the main process")] = 0
    threads: Annotated[
        Annotated[int, Field(gt=0, le=4096)] | Literal["auto"],
        Field(
            description=(
                "CPU threads of torch; auto: available cores minus loader workers, unless OMP_NUM_THREADS is set. A "
                "resumed run keeps its number"
            )
        ),
    ] = "auto"
    log_every: Annotated[int, Field(gt=0, description="steps between lines of metrics.jsonl")] = 10
    validate_every: Annotated[int, Field(gt=0, description="steps between validations")] = 500
    validate_share: Annotated[
        Share,
        Field(
            description=(
                "maximum share of validation in the run's compute; if scoring all held-out samples exceeds it, a "
                "fixed subset is scored; 100%: no limit"
            )
        ),
    ] = "10%"
    patience: Annotated[
        Annotated[int, Field(gt=0)] | None,
        Field(description="early stopping after this many validations in a row without a lower loss; null: none"),
    ] = None
    checkpoint_every: Annotated[int, Field(gt=0, description="steps between checkpoints")] = 500
    keep_checkpoints: Annotated[int, Field(ge=2, description="number of newest checkpoints to keep, besides the best")] = 2
    tensorboard: Annotated[bool, Field(description="also write TensorBoard events; needs omnimask[tensorboard]")] = False


def rate_by_batch(config: TrainConfig) -> str | None:
    """Return the peak learning rate and its derivation from the batch as text, or None without ``base_lr``."""
    if config.base_lr is None:
        return None
    lr, batch, tokens = config.base_lr.rate(config.batch_tokens), config.batch_tokens, config.base_lr.tokens
    return f"{lr:.4g} = {config.base_lr.lr:g} x {batch:,} / {tokens:,} tokens"
