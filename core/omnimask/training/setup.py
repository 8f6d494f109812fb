"""Set-up of the model, optimizer and schedule for a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from omnimask.errors import UserError
from omnimask.interfaces import Context
from omnimask.training.checkpoints.contents import TrainingState
from omnimask.training.checkpoints.directory import Checkpoints
from omnimask.training.checkpoints.saver import Saver, ShardSaver
from omnimask.training.config import TrainConfig
from omnimask.training.counters import Counters
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.ranks import Joined, Ranks
from omnimask.training.devices.replicas import Replicas
from omnimask.training.devices.switches import checkpoint_activations, compile_blocks
from omnimask.training.optim.ema import Ema
from omnimask.training.optim.schedules import Constant, Schedule


def parallel_of(config: TrainConfig, device: torch.device, precision: Precision, ranks: Ranks) -> Replicas:
    """Return the parallelism of a run and open the process groups. A single rank holds the whole model.

    Raises:
        UserError: the precision is unsupported with ``train.distributed``.
    """
    ranks.open(device, config.timeout)
    if config.distributed == "fsdp" and isinstance(ranks, Joined):
        from omnimask.training.devices.fsdp import FullySharded

        return FullySharded(ranks, precision)
    return Replicas(ranks)


def saver_of(parallel: Replicas, checkpoints: Checkpoints, state: TrainingState, versions: Mapping[str, str], run: Path) -> Saver:
    """Return the checkpoint saver for the parallelism of a run."""
    ranks = parallel.ranks
    if parallel.is_sharded and isinstance(ranks, Joined):
        return ShardSaver(checkpoints, state, versions, ranks, run)
    return Saver(checkpoints, state, versions, ranks, run)


def prepare(model: nn.Module, config: TrainConfig, device: torch.device, precision: Precision, parallel: Replicas) -> TrainingState:
    """Prepare the model, or this rank's shard, on its device with its switches, and create the optimizer.

    Raises:
        UserError: the recipe has no optimizer, the model has no trainable parameter, or a switch applies to no module of it.
    """
    if config.optimizer is None:
        raise UserError("train.optimizer is missing, for example {name: adamw, lr: 1e-3}")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError("the model has no trainable parameter")
    if config.activation_checkpointing:
        checkpoint_activations(model)
    if config.compile:
        compile_blocks(model)
    parallel.place(model, device)
    optimizer = config.optimizer(Context())(model)
    ema = None if config.ema is None else Ema(model, config.ema)
    return TrainingState(model, optimizer, ema, precision.scaler, Counters())


def schedule_of(config: TrainConfig) -> Schedule:
    """Return the recipe's schedule; the default is constant.

    Raises:
        UserError: it does not fit the length of the run.
    """
    schedule: Schedule = Constant(Context()) if config.schedule is None else config.schedule(Context())
    try:
        schedule(0, config.steps)
    except ValueError as error:
        raise UserError(f"{getattr(config.schedule, 'where', None) or 'train.schedule'}: {error}") from error
    return schedule
