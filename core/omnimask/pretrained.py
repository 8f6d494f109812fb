"""Checkpoints of other programs: configuration, weights, and the mapping of parameter names."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from omnimask.interfaces import Exported, Model

logger = logging.getLogger(__name__)

Names: TypeAlias = Iterable[tuple[str, Collection[str]]]
"""Pairs of our parameter name and its names elsewhere. Several names mean a concatenation along the first axis."""

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def read_config(folder: Path, *kinds: str) -> Mapping[str, Any]:
    """Return ``config.json`` of a checkpoint whose ``model_type`` is one of ``kinds``.

    Raises:
        ValueError: it is missing, unreadable, or of another kind of model.
    """
    if not folder.is_dir():
        raise ValueError(f"folder {folder} does not exist")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in kinds:
        raise ValueError(f"{path} describes a model of type {found!r}, but this initializer reads {' or '.join(map(repr, kinds))}")
    return config


def model_type(folder: Path) -> str | None:
    """Return ``model_type`` of a folder's ``config.json``, or None if the folder holds no model.

    Raises:
        ValueError: the folder holds weights but no readable configuration.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        weights = next((name for name in _WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            return None
        raise ValueError(
            f"{folder} contains {weights}, but its config.json cannot be read ({error}): copy that file from the "
            "source of the model, or write the folder again with save_pretrained"
        ) from error
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def other_model(folder: Path, differences: Sequence[str]) -> ValueError:
    """Return the error for a recipe whose model differs from a folder known to `omnimask init`, with all differences."""
    return ValueError(
        f"the recipe's model differs from the checkpoint's: {'; '.join(differences)}. "
        f"`omnimask init {shlex.quote(str(folder))}` writes a matching recipe"
    )


@contextmanager
def quiet(theirs: Any, *, has_warnings: bool = False) -> Iterator[None]:
    """Keep a library from writing to the terminal and restore its settings afterwards.

    Args:
        theirs: the library's logging module, with the functions of ``transformers.utils.logging``.
        has_warnings: keep its warnings, and turn off progress bars only.
    """
    had_bars, verbosity = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    if not has_warnings:
        theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if had_bars:
            theirs.enable_progress_bar()


def refuse_code(folder: Path, *names: str, is_trusted: bool) -> None:
    """Refuse a folder whose configuration names its own Python files, which loading would run.

    Args:
        folder: of a model or a tokenizer; missing files are skipped.
        names: of its configurations that may have an ``auto_map``: ``config.json``, ``tokenizer_config.json``.
        is_trusted: the recipe has ``trust_remote_code: true`` on the component that reads the folder.

    Raises:
        ValueError: a configuration names code and is not trusted.
    """
    for name in names if not is_trusted else ():
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # reported when the configuration is read
            continue
        found = config.get("auto_map") if isinstance(config, dict) else None
        if found:
            code = ", ".join(str(value) for value in found.values()) if isinstance(found, dict) else str(found)
            raise ValueError(
                f"{folder / name} refers to Python code (auto_map: {code}), which would run on loading; review "
                "that code, and if you trust it set trust_remote_code: true on this component"
            )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read ``model.safetensors`` of a checkpoint, or the files listed in ``model.safetensors.index.json``.

    Prefixes added by ``torch.compile`` and data parallelism (``_orig_mod.``, ``module.``) are removed, and this is logged.

    Raises:
        ValueError: the file is missing or damaged. Pickled weights are refused.
    """
    path, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if path.is_file():
        return _without_wrappers(_read_file(path), path)
    if index.is_file():
        return _without_wrappers(_read_files(index), index)
    pickled = sorted(file.name for ending in ("*.bin", "*.pt", "*.pth") for file in folder.glob(ending))
    if pickled:
        raise ValueError(
            f"{folder} contains {pickled[0]} but no model.safetensors; pickled weights can run arbitrary code and "
            "are not read: if you trust the file, load the model with transformers and write it again with "
            "save_pretrained"
        )
    raise ValueError(f"{folder} contains no model.safetensors")


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_files(index: Path) -> dict[str, Tensor]:
    """Read weights from several files beside their index."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(name): str(file) for name, file in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} cannot be read: it needs a weight_map from names to files ({error!r})") from error
    state: dict[str, Tensor] = {}
    for file in sorted(set(names.values())):
        if Path(file).name != file:
            raise ValueError(f"{index} lists {file!r}, which is not in the same folder")
        state.update(_read_file(index.parent / file))
    if missing := sorted(names.keys() - state.keys()):
        raise ValueError(f"{index} lists weights that are not in its files: {some_names(missing)}")
    return state


def _without_wrappers(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove ``_orig_mod.`` anywhere in names, and ``module.`` if all names begin with it."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        found[".".join(part for part in name.split(".") if part != "_orig_mod")] = tensor
    while found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    if len(found) != len(state):
        raise ValueError(f"{path} contains weights twice, with and without _orig_mod. in their names")
    if found.keys() != state.keys():
        logger.info("%s: prefixes of torch.compile and data parallelism are removed from names", path)
    return found


def some_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list for a message, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def gather(state: Mapping[str, Tensor], names: Names, *, ignored: Collection[str] = ()) -> dict[str, Tensor]:
    """Return their weights (or gradients) under our names.

    Args:
        state: theirs, complete.
        names: ours, and theirs.
        ignored: names of theirs without a place here.

    Raises:
        ValueError: a key of ``state`` has no place here, or a required one is missing.
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
        raise ValueError(f"weights of the checkpoint that the model lacks: {sorted(unused)}")
    return mapped


def scatter(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Return our weights under their names, the inverse of :func:`gather`. Parts of one parameter have equal sizes.

    Raises:
        ValueError: a key of ``state`` has no place there, or a required one is missing.
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
        raise ValueError(f"weights of the model that the checkpoint lacks: {sorted(unused)}")
    return mapped


def check_class(found: object, wanted: type, remedy: str) -> None:
    """Raise ``ValueError`` unless a part of a model has the class represented by another program's format.

    Args:
        found: the part.
        wanted: its class.
        remedy: the required setting in the recipe, ``encoder: {name: bert}``.
    """
    if not isinstance(found, wanted):
        raise ValueError(f"the model has {type(found).__name__} but needs {remedy}")


def compared(outputs: str, expected: Tensor, found: Tensor) -> Exported:
    """Return the largest absolute difference between the outputs of a model and of its exported copy.

    Args:
        outputs: describes them: ``the 1,024 logits of 4 texts``.
        expected: of the model.
        found: of the exported copy, of the same shape.
    """
    return Exported(outputs, float((found - expected).abs().max()), float(expected.abs().max()))


def load(model: Model, state: Mapping[str, Tensor]) -> None:
    """Copy weights under our names into a model. Both sides must match completely.

    Raises:
        ValueError: names or shapes differ.
    """
    own = model.state_dict()
    shapes = [
        f"{name} is {list(state[name].shape)} there and {list(own[name].shape)} here"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    differences = [
        *([f"the checkpoint lacks {some_names(missing)}"] if (missing := sorted(own.keys() - state.keys())) else []),
        *([f"the recipe's model lacks {some_names(more)}"] if (more := sorted(state.keys() - own.keys())) else []),
        *([f"sizes differ: {some_names(shapes)}"] if shapes else []),
    ]
    if differences:
        raise ValueError(f"the recipe's model differs from the checkpoint's: {'; '.join(differences)}")
    model.load_state_dict(state, strict=True)
