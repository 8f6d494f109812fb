"""Contents of a checkpoint: weights as safetensors, the rest as tensors and plain values for ``weights_only`` loading."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor

from omnimask.errors import UserError
from omnimask.training.checkpoints.directory import SHARDS, Checkpoints, Writers, verify
from omnimask.training.checkpoints.durable_files import DurableWriter
from omnimask.training.checkpoints.old_names import present_name
from omnimask.training.counters import Counters
from omnimask.training.optim.ema import Ema

MODEL = "model.safetensors"
EMA = "ema.safetensors"
TRAINING = "training.pt"
_TIED = "tied"
_MODEL, _AVERAGES, _OPTIMIZER = "model/", "ema/", "optimizer/"
"""Name prefixes of sharded tensors."""

Likes: TypeAlias = Mapping[str, Tensor]
"""Tensors whose sharding is applied to loaded tensors, by prefixed name; for optimizer state, by parameter number."""

NO_LIKES: Likes = {}


def write_weights(module: nn.Module, file: DurableWriter) -> None:
    """Write the state dict of a module. A shared tensor is written once; the metadata list its other names."""
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
    """Write named tensors as one safetensors file."""
    file.write(safetensors.torch.save({name: _own(tensor) for name, tensor in tensors.items()}, metadata))


def _own(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the host whose storage holds no other data."""
    host = tensor.detach().cpu().contiguous()
    return host if host.untyped_storage().nbytes() == host.nbytes else host.clone()


def write_training(state: Mapping[str, Any], file: DurableWriter) -> None:
    """Write the state of optimizer and scaler, and the progress."""
    torch.save(dict(state), cast(IO[bytes], file))  # torch needs no more of a file than write and flush


def read_training(checkpoint: Path, likes: Likes = NO_LIKES) -> dict[str, Any]:
    """Load the output of :func:`write_training` to the host. The checkpoint must have been verified."""
    training = torch.load(checkpoint / TRAINING, map_location="cpu", weights_only=True)
    state: dict[int, dict[str, Any]] = training["optimizer"]["state"]
    if not (checkpoint / SHARDS).is_dir():
        for number, values in state.items():
            for name, value in values.items():
                values[name] = arranged(value, likes.get(f"{_OPTIMIZER}{number}")) if isinstance(value, Tensor) else value
        return training
    for name, tensor in _read_shards(checkpoint, _OPTIMIZER, likes).items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = tensor
    return training


def read_weights(checkpoint: Path, likes: Likes = NO_LIKES) -> dict[str, Tensor]:
    """Load the state dict of a checkpoint to the host, with every shared tensor under all of its names."""
    if (checkpoint / SHARDS).is_dir():
        state = _read_shards(checkpoint, _MODEL, likes)
        tied = torch.load(checkpoint / TRAINING, map_location="cpu", weights_only=True)[_TIED]
        return {**state, **_others(state, tied)}
    with safetensors.safe_open(checkpoint / MODEL, framework="pt") as file:
        tied = json.loads((file.metadata() or {}).get(_TIED, "{}"))
        names = file.keys()
        present = {name: now for name in names if (now := present_name(name)) is not None}
        state = {now: arranged(file.get_tensor(name), likes.get(_MODEL + now)) for name, now in present.items()}
    return {**state, **_others(state, tied)}


def _others(state: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the shared tensors of a state dict under their other names."""
    pairs = [(present_name(name), present_name(kept)) for name, kept in tied.items()]
    return {name: state[kept] for name, kept in pairs if name is not None and kept is not None}


def read_averages(checkpoint: Path, likes: Likes = NO_LIKES) -> dict[str, Tensor] | None:
    """Load averaged weights by parameter name. Return None if the run has none."""
    if (checkpoint / SHARDS).is_dir():
        return _read_shards(checkpoint, _AVERAGES, likes) or None
    path = checkpoint / EMA
    if not path.exists():
        return None
    present = {now: tensor for name, tensor in safetensors.torch.load_file(path).items() if (now := present_name(name)) is not None}
    return {name: arranged(tensor, likes.get(_AVERAGES + name)) for name, tensor in present.items()}


def _read_shards(checkpoint: Path, prefix: str, likes: Likes) -> dict[str, Tensor]:
    from omnimask.training.checkpoints.fsdp_files import read

    def layout(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        like = likes.get(f"{prefix}{name.partition('/')[0] if prefix == _OPTIMIZER else present_name(name)}")
        return torch.empty(size, dtype=dtype) if like is None or like.shape != size else torch.empty_like(like, dtype=dtype)

    found = read(checkpoint / SHARDS, layout, prefix)
    return {now: tensor for name, tensor in found.items() if (now := present_name(name)) is not None}


def arranged(tensor: Tensor, like: Tensor | None) -> Tensor:
    """Return this rank's shard of a full tensor if ``like`` is sharded, else the tensor itself."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def set_weights(module: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict in place.

    Raises:
        UserError: names or shapes differ from the module's.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UserError(f"{source} contains the weights of another model: {error}") from error


def load_weights(module: nn.Module, checkpoint: Path, *, averaged: bool = True) -> nn.Module:
    """Load a checkpoint into a model for evaluation or export, after verifying it.

    Args:
        module: built from the run's recipe.
        checkpoint: a ``step-...`` directory.
        averaged: load the averaged weights if the run has them.

    Raises:
        Damaged: the checkpoint is damaged.
        UserError: the checkpoint belongs to another model.
    """
    verify(checkpoint)
    set_weights(module, read_weights(checkpoint), checkpoint)
    averages = read_averages(checkpoint) if averaged else None
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, average in (averages or {}).items():
            parameters[name].copy_(average)
    return module


def _on_host(tensor: Tensor, mesh: DeviceMesh) -> Tensor:
    """Copy a tensor, or this rank's shard of it, to the host."""
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor.cpu().clone()
    local = tensor.to_local().to("cpu", copy=True)
    return DTensor.from_local(local, mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride())


@dataclass
class TrainingState:
    """Complete state of a run. A run restored from it continues as if it had never stopped."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    scaler: GradScaler | None
    progress: Counters

    def save(self, checkpoints: Checkpoints, versions: Mapping[str, str]) -> Path:
        """Write a checkpoint of the current step. Raise ``OSError`` if writing fails."""
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

    def staged(self, group: ProcessGroup | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return host copies of this rank's shards, and the contents of ``training.pt``.

        Args:
            group: all ranks, on the host.
        """
        assert group is not None
        mesh = DeviceMesh.from_group(group, "cpu")
        names: dict[int, str] = {}
        tied: dict[str, str] = {}
        tensors: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if names.setdefault(id(tensor), name) == name:
                tensors[_MODEL + name] = tensor
            else:
                tied[name] = names[id(tensor)]
        if self.ema is not None:
            tensors |= {_AVERAGES + name: average for name, average in self.ema.averages.items()}
        optimizer = self.optimizer.state_dict()
        rest: dict[int, dict[str, Any]] = {}
        for number, values in optimizer["state"].items():
            rest[number] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
            tensors |= {f"{_OPTIMIZER}{number}/{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        training = {
            "progress": self.progress.to_dict(),
            "optimizer": {"state": rest, "param_groups": copy.deepcopy(optimizer["param_groups"])},
            "scaler": None,
            "ema_updates": None if self.ema is None else self.ema.updates,
            _TIED: tied,
        }
        return {name: _on_host(tensor, mesh) for name, tensor in tensors.items()}, training

    def _likes(self) -> Likes:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        found = {_MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        found |= {} if self.ema is None else {_AVERAGES + name: average for name, average in self.ema.averages.items()}
        found |= {f"{_OPTIMIZER}{number}": parameter.detach() for number, parameter in enumerate(parameters)}
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, DTensor)}

    def restore(self, checkpoint: Path, *, renews_optimizer: bool = False) -> None:
        """Restore the state from a verified checkpoint. If ``renews_optimizer``, keep the current optimizer options.

        Raises:
            UserError: the checkpoint belongs to another model, or to a run with other switches.
        """
        likes = self._likes()
        training = read_training(checkpoint, likes)
        averages = read_averages(checkpoint, likes)
        self._check_switches(checkpoint, training)
        set_weights(self.model, read_weights(checkpoint, likes), checkpoint)
        fresh = [{key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(training["optimizer"])
        except ValueError as error:
            raise UserError(f"{checkpoint} contains the state of another optimizer: {error}") from error
        for group, options in zip(self.optimizer.param_groups, fresh, strict=True):
            group.update(options if renews_optimizer else {})
        if self.ema is not None and averages is not None:
            self.ema.restore(averages, training["ema_updates"])
        if self.scaler is not None:
            self.scaler.load_state_dict(training["scaler"])
        self.progress = Counters.from_dict(training["progress"])

    def _check_switches(self, checkpoint: Path, training: Mapping[str, Any]) -> None:
        for name, present, saved in (
            ("train.ema", self.ema, training["ema_updates"]),
            ("train.precision fp16", self.scaler, training["scaler"]),
        ):
            if (present is None) != (saved is None):
                here, there = ("with", "without") if saved is None else ("without", "with")
                raise UserError(f"{name}: this run is {here} it, but {checkpoint} was trained {there} it; both must agree")
