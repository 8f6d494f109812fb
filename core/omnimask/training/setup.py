"""What a run needs before its first step: the model on its device, the optimiser, the schedule."""

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
    """How the ranks of a run hold its model; from now on they talk to each other as the run wants. One rank holds all of it.

    Raises:
        UserError: the precision does not go with ``train.distributed``.
    """
    ranks.open(device, config.timeout)
    if config.distributed == "fsdp" and isinstance(ranks, Joined):
        from omnimask.training.devices.fsdp import Shards

        return Shards(ranks, precision)
    return Replicas(ranks)


def saver_of(parallel: Replicas, checkpoints: Checkpoints, state: TrainingState, versions: Mapping[str, str], run: Path) -> Saver:
    """Who writes the checkpoints of a run."""
    ranks = parallel.ranks
    if parallel.is_sharded and isinstance(ranks, Joined):
        return ShardSaver(checkpoints, state, versions, ranks, run)
    return Saver(checkpoints, state, versions, ranks, run)


def prepare(model: nn.Module, config: TrainConfig, device: torch.device, precision: Precision, parallel: Replicas) -> TrainingState:
    """The model on its device (or this rank's share of it) with its switches set, and its optimiser.

    Raises:
        UserError: the recipe names no optimiser, or the model has nothing to train or no part that a switch concerns.
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
    """The recipe's schedule; constant without one.

    Raises:
        UserError: it does not fit the length of the run.
    """
    schedule: Schedule = Constant(Context()) if config.schedule is None else config.schedule(Context())
    try:
        schedule(0, config.steps)
    except ValueError as error:
        raise UserError(f"{getattr(config.schedule, 'where', None) or 'train.schedule'}: {error}") from error
    return schedule
