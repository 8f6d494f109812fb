"""What a checkpoint's files hold: weights as safetensors, the rest as tensors and plain values that load with ``weights_only``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from omnimask.errors import UserError
from omnimask.training.checkpoint import Checkpoints, Writers, verify
from omnimask.training.ema import Ema
from omnimask.training.files import DurableWriter
from omnimask.training.progress import Progress

MODEL = "model.safetensors"
EMA = "ema.safetensors"
TRAINING = "training.pt"
_TIED = "tied"


def write_weights(module: nn.Module, file: DurableWriter) -> None:
    """The module's state; a tensor that several names share is written once, and the metadata name its other names."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    names: dict[Any, str] = {}
    for name, tensor in module.state_dict().items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else name
        kept = names.setdefault(place, name)
        if kept == name:
            tensors[name] = tensor
        else:
            tied[name] = kept
    write_tensors(tensors, file, {_TIED: json.dumps(tied)})


def write_tensors(tensors: Mapping[str, Tensor], file: DurableWriter, metadata: dict[str, str] | None = None) -> None:
    """Named tensors as one safetensors file."""
    file.write(safetensors.torch.save({name: _own(tensor) for name, tensor in tensors.items()}, metadata))


def _own(tensor: Tensor) -> Tensor:
    """The tensor on the host, contiguous, with a storage that holds nothing else."""
    host = tensor.detach().cpu().contiguous()
    return host if host.untyped_storage().nbytes() == host.nbytes else host.clone()


def write_training(state: Mapping[str, Any], file: DurableWriter) -> None:
    """Optimiser, scaler and progress."""
    torch.save(dict(state), cast(IO[bytes], file))  # torch needs no more of a file than write and flush


def read_training(checkpoint: Path) -> dict[str, Any]:
    """What :func:`write_training` wrote, on the host; the checkpoint was verified before."""
    return torch.load(checkpoint / TRAINING, map_location="cpu", weights_only=True)


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint on the host, every shared tensor under all of its names."""
    with safetensors.safe_open(checkpoint / MODEL, framework="pt") as file:
        tied = json.loads((file.metadata() or {}).get(_TIED, "{}"))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return {**state, **{name: state[kept] for name, kept in tied.items()}}


def read_averages(checkpoint: Path) -> dict[str, Tensor] | None:
    """Averaged weights by parameter name, None if the run keeps none."""
    path = checkpoint / EMA
    return safetensors.torch.load_file(path) if path.exists() else None


def set_weights(module: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Loads a state dict in place.

    Raises:
        UserError: names or shapes differ from the module's.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UserError(f"{source} holds the weights of another model: {error}") from error


def load_weights(module: nn.Module, checkpoint: Path, *, averaged: bool = True) -> nn.Module:
    """Loads a verified checkpoint into a model, for evaluation or export.

    Args:
        module: built from the run's recipe.
        checkpoint: a ``step-...`` directory.
        averaged: take the averaged weights where the run keeps them.

    Raises:
        Damaged: the checkpoint is not intact.
        UserError: the checkpoint is of another model.
    """
    verify(checkpoint)
    set_weights(module, read_weights(checkpoint), checkpoint)
    averages = read_averages(checkpoint) if averaged else None
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, average in (averages or {}).items():
            parameters[name].copy_(average)
    return module


@dataclass
class TrainingState:
    """All that a run needs to continue as if it had never stopped."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    scaler: GradScaler | None
    progress: Progress

    def save(self, checkpoints: Checkpoints, versions: Mapping[str, str]) -> Path:
        """Writes a checkpoint of the present step. Raises ``OSError``."""
        return checkpoints.save(self.progress.step, self._writers(), cursor=asdict(self.progress.cursor), versions=versions)

    def _writers(self) -> Writers:
        ema, scaler = self.ema, self.scaler
        training = {
            "progress": self.progress.to_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema_updates": None if ema is None else ema.updates,
        }
        writers = {
            MODEL: lambda file: write_weights(self.model, file),
            TRAINING: lambda file: write_training(training, file),
        }
        if ema is not None:
            writers[EMA] = lambda file: write_tensors(ema.averages, file)
        return writers

    def restore(self, checkpoint: Path) -> None:
        """Takes everything from a verified checkpoint.

        Raises:
            UserError: the checkpoint is of another model, or of a run with other switches.
        """
        training = read_training(checkpoint)
        averages = read_averages(checkpoint)
        self._check_switches(checkpoint, training)
        set_weights(self.model, read_weights(checkpoint), checkpoint)
        try:
            self.optimizer.load_state_dict(training["optimizer"])
        except ValueError as error:
            raise UserError(f"{checkpoint} holds the state of another optimizer: {error}") from error
        if self.ema is not None and averages is not None:
            self.ema.restore(averages, training["ema_updates"])
        if self.scaler is not None:
            self.scaler.load_state_dict(training["scaler"])
        self.progress = Progress.from_dict(training["progress"])

    def _check_switches(self, checkpoint: Path, training: Mapping[str, Any]) -> None:
        for name, present, saved in (
            ("train.ema", self.ema, training["ema_updates"]),
            ("train.precision fp16", self.scaler, training["scaler"]),
        ):
            if (present is None) != (saved is None):
                here, there = ("with", "without") if saved is None else ("without", "with")
                raise UserError(f"{name}: this run is {here} it, but {checkpoint} was trained {there} it; both must agree")
