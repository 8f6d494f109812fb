"""Computed series without measurements, to check that a model learns."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw

PERIODS = (24, 12, 48, 36)
"""Periods of the season in steps. The index of a series' period is its label."""


class Seasons:
    """Computed series. Channels share a season and a slow trend, but differ in delay, scale and noise.

    Each series has one of four periods (its label) and a random shape of three harmonics rather than a sine. Every second series
    lacks a stretch of values in one channel.

    Args:
        size: number of series.
        length: values in each series.
        channels: channels of each series.
    """

    def __init__(
        self,
        context: Context,
        *,
        size: Annotated[int, Field(gt=0)] = 2048,
        length: Annotated[int, Field(ge=48)] = 192,
        channels: Annotated[int, Field(gt=0)] = 3,
    ) -> None:
        self.size, self.length, self.channels = size, length, channels

    def __len__(self) -> int:
        return self.size

    def key(self, index: int) -> str:
        """Return ``seasons/0000`` and so on."""
        return f"seasons/{range(self.size)[index]:04d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``timeseries``, (length, channels) with NaN for missing values, and ``label``."""
        rng = Draw(0, 0, self.key(index)).rng("seasons")
        label = int(rng.integers(len(PERIODS)))
        time = np.arange(self.length)[:, None] - rng.uniform(0, 8, self.channels)
        phase = 2 * np.pi * (time / PERIODS[label] + rng.uniform())
        harmonics = rng.normal(size=3) / (1, 2, 3)
        harmonics /= np.linalg.norm(harmonics)
        season = sum(size * np.sin(order * phase + rng.uniform(0, 6)) for order, size in enumerate(harmonics, start=1))
        trend = np.cumsum(rng.normal(0, 0.02, (self.length, 1)), axis=0)
        series = (season + trend) * rng.uniform(0.5, 2, self.channels) + rng.normal(0, 5, self.channels)
        series = series + rng.normal(0, 0.05, series.shape)
        if index % 2:
            start, gap = rng.integers(self.length - 24), rng.integers(4, 25)
            series[start : start + gap, rng.integers(self.channels)] = np.nan
        return {"timeseries": series, "label": label}

    def fingerprint(self) -> str:
        """Return a version number of the series, and the options."""
        return f"seasons 1 {self.size} {self.length} {self.channels}"
