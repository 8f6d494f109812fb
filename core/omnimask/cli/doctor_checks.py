"""Checks of the installation: versions, devices, and problems with their remedies."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal

_SHOWN = ("omnimask", "torch", "torchvision", "torchaudio", "numpy", "safetensors", "transformers", "timm")
_SHM = Path("/dev/shm")
_SMALLEST_SHM = 1 << 30
"""Minimum bytes of shared memory; with less, loader workers may run out of it."""
_SMALLEST_DISK = 5 << 30
"""Minimum bytes of free disk; with less, checkpoints may soon not fit."""


@dataclass(frozen=True)
class Finding:
    """Result of a check: ``ok``, ``note`` (may matter to some runs) or ``problem`` (something will not work), with a reason."""

    status: Literal["ok", "note", "problem"]
    name: str
    text: str


def examine() -> list[Finding]:
    """Run all checks, in order. Import torch, and torchvision and torchaudio if installed."""
    return [_versions(), *_devices(), *_torch_family(), _plugins(), _disk(), *_shared_memory(), _datasets()]


def facts() -> dict[str, Any]:
    """Return the facts for programs: versions, device names, and the result of ``import datasets`` (None: nothing)."""
    import torch

    return {
        "versions": {"python": platform.python_version(), **_installed()},
        "platform": platform.platform(),
        "executable": sys.executable,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "datasets": _found_as_datasets(),
    }


def _installed() -> dict[str, str]:
    found = {}
    for name in _SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _versions() -> Finding:
    text = ", ".join(f"{name} {version}" for name, version in _installed().items())
    return Finding("ok", "versions", f"{text}; Python {platform.python_version()} on {platform.platform()}")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("ok", "cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        yield Finding("ok", f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("ok", "mps", "available")
    if torch.cuda.device_count() == 0:
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        yield Finding("note", "cuda", f"no GPU found; torch {built}")


def _torch_family() -> Iterator[Finding]:
    """Check that torchvision and torchaudio are built for torch's CUDA. Pip does not ensure it."""
    import torch

    for name in ("torchvision", "torchaudio"):
        if importlib.util.find_spec(name) is None:
            continue
        wanted = torch.version.cuda
        remedy = f"install the {name} that belongs to torch {torch.__version__}: pip install --force-reinstall --no-deps {name}"
        try:
            module = importlib.import_module(name)
            built = cuda_name(getattr(getattr(module, "version", None), "cuda", wanted))
        except Exception as error:  # a mismatched binary fails in any way
            yield Finding("problem", name, f"cannot be imported ({type(error).__name__}: {error}); {remedy}")
            continue
        version = getattr(module, "__version__", "?")
        if built != wanted:
            yield Finding("problem", name, f"{version} is built for CUDA {built}, torch for CUDA {wanted}; {remedy}")
        else:
            yield Finding("ok", name, f"{version}, built like torch (CUDA {built or 'none'})")


def cuda_name(version: str | int | None) -> str | None:
    """Return a CUDA version in torch's form: 13000, as torchvision may report it, is 13.0, and 12080 is 12.8."""
    if version is None or not str(version).isdigit() or int(version) < 1000:
        return None if version is None else str(version)
    return f"{int(version) // 1000}.{int(version) % 1000 // 10}"


def _plugins() -> Finding:
    from omnimask.registry import discover

    registry = discover()
    names = ", ".join(plugin.name for plugin in registry.plugins)
    if not registry.failures:
        return Finding("ok", "plugins", names)
    failed = "; ".join(map(str, registry.failures))
    return Finding("problem", "plugins", f"{failed}; see `omnimask plugins --check`")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / 1e9:,.0f} GB free in {Path.cwd()}"
    return Finding("ok", "disk", text) if free >= _SMALLEST_DISK else Finding("note", "disk", f"{text}; checkpoints may not fit")


def _shared_memory() -> Iterator[Finding]:
    if not _SHM.is_dir():
        return
    total = shutil.disk_usage(_SHM).total
    text = f"{total / 2**20:,.0f} MiB in {_SHM}"
    if total >= _SMALLEST_SHM:
        yield Finding("ok", "shared memory", text)
    else:
        yield Finding(
            "note",
            "shared memory",
            f"{text}: loader workers may run out of it; enlarge it (docker run --shm-size=8g) or set train.workers=0",
        )


def _datasets() -> Finding:
    """Check that no folder ``datasets/`` on the import path shadows the Hugging Face package."""
    found = _found_as_datasets()
    if found is None or found == "package":
        return Finding("ok", "datasets", "no folder shadows the Hugging Face package")
    return Finding(
        "problem",
        "datasets",
        f"`import datasets` imports the folder {found}; start with `omnimask`, or remove its parent from PYTHONPATH",
    )


def _found_as_datasets() -> str | None:
    spec = PathFinder.find_spec("datasets")  # by the path alone: a package that is loaded already would hide the folder
    if spec is None:
        return None
    if spec.origin is not None:
        return "package"
    return next(iter(spec.submodule_search_locations or ()), "?")
