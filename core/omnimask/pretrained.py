"""Checkpoints of other programs: a folder's configuration and weights, and weights under other names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

Names: TypeAlias = Iterable[tuple[str, Collection[str]]]
"""Of each of our parameters, its names elsewhere: several where it is theirs one after another, along the first axis."""


def read_config(folder: Path, *kinds: str) -> Mapping[str, Any]:
    """``config.json`` of a checkpoint whose ``model_type`` is one of ``kinds``.

    Raises:
        ValueError: it is not there, not readable, or of another kind of model.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in kinds:
        raise ValueError(f"{path} describes a model of type {found!r}, and this initializer reads {' or '.join(map(repr, kinds))}")
    return config


def refuse_code(folder: Path, *names: str, is_trusted: bool) -> None:
    """Refuse a folder whose configuration names Python files of its own, which loading it would run.

    Args:
        folder: of a model or a tokenizer; absent files are passed over.
        names: of configurations in it that may have an ``auto_map``: ``config.json``, ``tokenizer_config.json``.
        is_trusted: the recipe has ``trust_remote_code: true`` on the component that reads the folder.

    Raises:
        ValueError: a configuration names code, and it is not trusted.
    """
    for name in names if not is_trusted else ():
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # whoever reads the configuration says what is wrong with it
            continue
        found = config.get("auto_map") if isinstance(config, dict) else None
        if found:
            code = ", ".join(str(value) for value in found.values()) if isinstance(found, dict) else str(found)
            raise ValueError(
                f"{folder / name} names Python code of its own (auto_map: {code}), which loading it would run; read that code, and "
                "where you trust it set trust_remote_code: true on this component"
            )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """``model.safetensors`` of a checkpoint.

    Raises:
        ValueError: it is not there or damaged; pickled weights are refused.
    """
    path = folder / "model.safetensors"
    if path.is_file():
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
    pickled = sorted(file.name for ending in ("*.bin", "*.pt", "*.pth") for file in folder.glob(ending))
    if pickled:
        raise ValueError(
            f"{folder} holds {pickled[0]} and no model.safetensors; pickled weights can run any code and are not read: "
            "load the model with transformers where you trust the file, and write it again with save_pretrained"
        )
    if (folder / "model.safetensors.index.json").is_file():
        raise ValueError(f"{folder} holds weights in several files; write them as one with save_pretrained(max_shard_size='100GB')")
    raise ValueError(f"{folder} holds no model.safetensors")


def gather(state: Mapping[str, Tensor], names: Names, *, ignored: Collection[str] = ()) -> dict[str, Tensor]:
    """Their weights (or gradients) under our names.

    Args:
        state: theirs, complete.
        names: ours, and theirs.
        ignored: names of theirs that need no place here.

    Raises:
        ValueError: a key of ``state`` has no place here, or one that is needed is missing.
    """
    unused = set(state) - set(ignored)
    mapped: dict[str, Tensor] = {}
    for ours, theirs in names:
        missing = [name for name in theirs if name not in state]
        if missing:
            raise ValueError(f"the checkpoint lacks {missing}, needed for {ours}")
        parts = [state[name] for name in theirs]
        mapped[ours] = torch.cat(parts) if len(parts) > 1 else parts[0]
        unused -= set(theirs)
    if unused:
        raise ValueError(f"these weights of the checkpoint have no place in the model: {sorted(unused)}")
    return mapped


def scatter(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Our weights under their names, the inverse of :func:`gather`; parts of one parameter are equally large.

    Raises:
        ValueError: a key of ``state`` has no place there, or one that is needed is missing.
    """
    unused = set(state)
    mapped: dict[str, Tensor] = {}
    for ours, theirs in names:
        if ours not in state:
            raise ValueError(f"the model has no {ours}, needed for {sorted(theirs)}")
        parts = state[ours].chunk(len(theirs))
        mapped.update(zip(theirs, (part.contiguous() for part in parts), strict=True))
        unused.discard(ours)
    if unused:
        raise ValueError(f"these weights of the model have no place in the checkpoint: {sorted(unused)}")
    return mapped


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copies weights under our names into a model; every parameter of both sides is used.

    Raises:
        ValueError: names or shapes do not fit.
    """
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the recipe's model is not the checkpoint's: {error}") from error
