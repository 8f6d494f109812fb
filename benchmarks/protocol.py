"""The one way in which this project measures speed.

One thread, CPU time of the process, variants in turn within one process, a warm-up round and at least seven counted ones. What
counts is a ratio: the median over rounds of (baseline's seconds / variant's seconds), with its quartiles. Above 1 the variant is
faster. Between variants a matrix product of 1,024 x 1,024 x 1,024 in float32 is timed, so that a variant's share of that peak can
be given.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROUNDS = 7
_PRODUCT = 1024
_PACKAGES = ("omnimask", "torch", "transformers", "numpy")


@dataclass(frozen=True)
class Variant:
    """One thing to time. ``flops``: useful operations of one call, None if no share of the peak is asked for."""

    name: str
    call: Callable[[], Any]
    flops: float | None = None


@dataclass(frozen=True)
class Row:
    """One variant: median seconds of a call, the ratio to the baseline (median and quartiles), the share of the product's peak."""

    name: str
    seconds: float
    ratio: float
    quartiles: tuple[float, float]
    share_of_peak: float | None


@dataclass(frozen=True)
class Comparison:
    """A table with its inputs, and with the machine it was measured on."""

    title: str
    inputs: Mapping[str, Any]
    baseline: str
    rows: Sequence[Row]
    rounds: int
    notes: Sequence[str] = ()
    machine: Mapping[str, str] = field(default_factory=lambda: machine())

    def __str__(self) -> str:
        lines = [self.title, *(f"  {key}: {value}" for key, value in self.inputs.items())]
        lines.append(f"  {'variant':44} {'ms':>9} {'ratio':>7} {'quartiles':>13} {'peak':>5}")
        for row in self.rows:
            share = "" if row.share_of_peak is None else f"{row.share_of_peak:.2f}"
            quartiles = f"{row.quartiles[0]:.2f}-{row.quartiles[1]:.2f}"
            lines.append(f"  {row.name:44} {1e3 * row.seconds:9.2f} {row.ratio:7.2f} {quartiles:>13} {share:>5}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def write(self, folder: Path, name: str) -> Path:
        """The table as JSON in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path


def compare(
    title: str,
    variants: Sequence[Variant],
    *,
    inputs: Mapping[str, Any],
    baseline: str,
    rounds: int = ROUNDS,
    notes: Sequence[str] = (),
    clock: Callable[[], float] | None = None,
) -> Comparison:
    """Times variants in turn; the first round is not counted.

    ``clock``, where a variant times a part of itself, gives the CPU seconds of its last call.
    """
    if rounds < ROUNDS:
        raise ValueError(f"the protocol asks for at least {ROUNDS} rounds, got {rounds}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    seconds = np.zeros((rounds + 1, len(variants)))
    peak = np.zeros((rounds + 1, len(variants)))
    a, b = torch.randn(_PRODUCT, _PRODUCT), torch.randn(_PRODUCT, _PRODUCT)
    for round_number in range(rounds + 1):
        for column, variant in enumerate(variants):
            peak[round_number, column] = 2 * _PRODUCT**3 / min(timed(lambda: a @ b) for _ in range(3))
            whole = timed(variant.call)
            seconds[round_number, column] = whole if clock is None else clock()
    seconds, peak = seconds[1:], peak[1:]
    base = seconds[:, [variant.name for variant in variants].index(baseline)]
    rows = [_row(variant, base, seconds[:, i], peak[:, i]) for i, variant in enumerate(variants)]
    return Comparison(title, inputs, baseline, rows, rounds, notes)


def timed(call: Callable[[], Any]) -> float:
    """CPU seconds of this process during a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _row(variant: Variant, base: np.ndarray, seconds: np.ndarray, peak: np.ndarray) -> Row:
    low, middle, high = np.percentile(base / seconds, [25, 50, 75])
    share = None if variant.flops is None else float(np.median(variant.flops / seconds / peak))
    return Row(variant.name, float(np.median(seconds)), float(middle), (float(low), float(high)), share)


def machine() -> dict[str, str]:
    """What a number depends on beside the code."""
    found = {"processor": _processor(), "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
