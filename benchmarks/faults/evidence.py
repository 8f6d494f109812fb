"""What a killed run must share with one that was left alone: losses, weights, samples, and checkpoints that can be read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.training.checkpoints.directory import Checkpoints, Damaged, verify

WEIGHTS = ("model.safetensors", "ema.safetensors")
SHARES = "shards"
"""The folder of weights and the optimizer's state where every rank holds a share; after a resume its files may hold the same
tensors in another order."""


def differences(alone: Path, killed: Path) -> list[str]:
    """Losses of steps and validations and the last checkpoint's weights that are not equal bit for bit, and files left over."""
    expected, found = losses(alone), losses(killed)
    names = sorted({*expected, *found})
    different = [f"{name}: {expected.get(name)} and {found.get(name)}" for name in names if expected.get(name) != found.get(name)]
    checkpoint = json.loads((alone / "summary.json").read_text())["last_checkpoint"]
    folders = [run / "checkpoints" / checkpoint for run in (alone, killed)]
    one, other = (tensors(folder) for folder in folders)
    different += [f"{name} of {checkpoint}" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    if left := half_written(killed):
        different.append(f"half-written checkpoints are left: {left}")
    return different


def tensors(checkpoint: Path) -> dict[str, str]:
    """Digests of the files of weights, or of every tensor where they are shared out.

    Raises:
        RuntimeError: there are neither.
    """
    files = [checkpoint / name for name in WEIGHTS if (checkpoint / name).exists()]
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    if (checkpoint / SHARES).is_dir():
        found |= _shared(checkpoint / SHARES)
    if not found:
        raise RuntimeError(f"{checkpoint} holds no weights")
    return found


def _shared(folder: Path) -> dict[str, str]:
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory() as place:
        dcp_to_torch_save(folder, f"{place}/whole.pt")
        whole = torch.load(f"{place}/whole.pt", weights_only=True)
    return {name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for name, tensor in _leaves(whole, "")}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}/{key}" if name else str(key))
    else:
        yield name, value


def losses(run: Path) -> dict[str, str]:
    """Every loss of ``metrics.jsonl`` in hexadecimal, by key and step.

    Raises:
        RuntimeError: a step is there twice.
    """
    found: dict[str, str] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for key in ("loss", "validation_loss"):
            if key in values:
                name = f"{key} of step {values['step']:05d}"
                if name in found:
                    raise RuntimeError(f"{run}: {name} is there twice")
                found[name] = float.hex(values[key])
    return found


def wrong_visits(alone: Mapping[int, list[str]], killed: Mapping[int, list[str]], steps: int) -> tuple[int, list[str]]:
    """Complete epochs that were compared, and what is wrong: a step with other samples, a sample that an epoch lacks or has twice.

    Args:
        alone, killed: keys by step, from 1.
        steps: of the whole run.
    """
    wrong = [f"step {step}: other samples" for step in range(1, steps + 1) if alone.get(step) != killed.get(step)]
    order = [key for step in range(1, steps + 1) for key in killed.get(step, [])]
    size = len(set(order))
    epochs = len(order) // size if size else 0
    for epoch in range(epochs):
        counts = Counter(order[epoch * size : (epoch + 1) * size])
        wrong += [f"epoch {epoch}: {key} {count} times" for key, count in counts.items() if count > 1]
        if len(counts) < size:
            wrong.append(f"epoch {epoch}: {size - len(counts)} samples are missing")
    return epochs, wrong


def unreadable(run: Path) -> tuple[int, list[str]]:
    """How many published checkpoints there are, and which of them are damaged, with the reason."""
    paths = Checkpoints(run / "checkpoints").paths()
    damaged: list[str] = []
    for path in paths:
        try:
            verify(path)
        except (Damaged, UserError) as error:
            damaged.append(f"{path.name}: {error}")
    return len(paths), damaged


def half_written(run: Path) -> list[str]:
    """Names of what is being written of checkpoints, or was when the process died."""
    with contextlib.suppress(OSError):
        return sorted(entry.name for entry in os.scandir(run / "checkpoints") if entry.name.endswith(".tmp"))
    return []


def last_step(run: Path) -> int:
    """The last whole line's step in ``metrics.jsonl``; -1 if there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError), (run / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        return json.loads(file.read().rpartition(b"\n")[0].rpartition(b"\n")[2])["step"]
    return -1
