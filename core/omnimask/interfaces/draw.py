"""The source of randomness of the data pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_STEPS = GOLDEN * np.arange(1, 4097, dtype=np.uint64)
"""Precomputed increments of the state, enough for most samples."""


@dataclass(frozen=True)
class Draw:
    """Source of every random choice about one sample. Independent of workers, ranks and history.

    Args:
        seed: the run's seed.
        epoch: number of complete passes over the data set before this visit.
        key: identifies the sample, including its source.
        position: place in the epoch's order, for stratified draws.
        progress: share of the run completed at this place, in [0, 1], for schedules; never a step counter.
        group: keys of the samples of one group (mismatched pairs, in-batch negatives).
        stage: prefix of every purpose; each stage of the pipeline has its own (see :meth:`at`).
    """

    seed: int
    epoch: int
    key: str
    position: int = 0
    progress: float = 0.0
    group: tuple[str, ...] = ()
    stage: tuple[str | int, ...] = ()

    @property
    def whole(self) -> str:
        """Key of the data set's sample from which this part was cut (its key is ``whole#start``), or the sample's own key."""
        whole, sign, start = self.key.rpartition("#")
        return whole if sign and start.isdecimal() else self.key

    def at(self, *stage: str | int) -> Draw:
        """Return the same draw in its own stage. Stages never share random numbers."""
        return Draw(self.seed, self.epoch, self.key, self.position, self.progress, self.group, (*self.stage, *stage))

    def _digest(self, purpose: tuple[str | int, ...]) -> bytes:
        text = repr((self.seed, self.epoch, self.key, self.stage, purpose))
        return blake2b(text.encode(), digest_size=16).digest()

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """Return a generator keyed by (seed, epoch, key, stage, purpose). Costs about 20 microseconds; see :meth:`uniform`."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest(purpose), "little")))

    def uniform(self, count: int, *purpose: str | int) -> NDArray[np.float64]:
        """Return (count,) uniform numbers in [0, 1) from a keyed hash (SplitMix64 of a counter), where speed matters [0].

        [0] Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
        """
        first = int.from_bytes(self._digest(purpose)[:8], "little")
        if count == 1:
            return np.array([_mixed(first)])
        start = np.uint64(first)
        state = _STEPS[:count] + start if count <= len(_STEPS) else start + GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        return uniform_of(state)


def uniform_of(state: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Convert states of the generator to uniform numbers in [0, 1). Overwrites ``state``."""
    # The upper 53 bits, the precision of a float64, scaled to [0, 1).
    state = mixed(state)
    state >>= np.uint64(11)
    return state.astype(np.float64) * 2.0**-53


def mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output function of each state, which is overwritten."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state ^= state >> np.uint64(shift)
        state *= factor
    state ^= state >> np.uint64(31)
    return state


def _mixed(start: int) -> float:
    """Return the first number without allocating arrays."""
    state = (start + int(GOLDEN)) & _WORD
    state = ((state ^ (state >> 30)) * int(_MIX_1)) & _WORD
    state = ((state ^ (state >> 27)) * int(_MIX_2)) & _WORD
    return ((state ^ (state >> 31)) >> 11) * 2.0**-53


_WORD = (1 << 64) - 1
