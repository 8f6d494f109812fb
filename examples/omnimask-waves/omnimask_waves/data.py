"""Synthetic data set, without a download."""

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Context, Draw


class Waves:
    """Data set of 512 noisy sums of two sines, 96 to 160 values long."""

    def __init__(self, context: Context) -> None:
        pass

    def __len__(self) -> int:
        return 512

    def key(self, index: int) -> str:
        """Return ``waves/0`` and so on."""
        return f"waves/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, NDArray[np.float64]]:
        """Return ``waves``, an (n,) array."""
        rng = Draw(0, 0, self.key(index)).rng("waves")
        time = np.arange(rng.integers(96, 161))
        periods, phases = rng.choice([12.0, 20.0, 32.0, 48.0], 2, replace=False), rng.uniform(0, 2 * np.pi, 2)
        waves = np.sin(2 * np.pi * time[:, None] / periods + phases).sum(axis=1)
        return {"waves": waves + rng.normal(0, 0.05, len(time))}

    def fingerprint(self) -> str:
        """Return a version of the data. Runs do not resume if it has changed."""
        return "waves 1"
