"""Where the randomness of data comes from."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_STEPS = _GOLDEN * np.arange(1, 4097, dtype=np.uint64)
"""What is added to the state for the first numbers, which most samples need no more of."""


@dataclass(frozen=True)
class Draw:
    """Where every random choice about one sample comes from: never from a worker, a rank or what ran before.

    Args:
        seed: the run's seed.
        epoch: how often the whole data set was seen before this visit.
        key: names the sample (its source included).
        position: place in the epoch's order, for stratified draws.
        progress: share of the run done at this place, in [0, 1], for schedules; never a step counter.
        group: keys of the samples that belong together (mismatched pairs, in-batch negatives).
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
        """Name of the sample of the data set that this one is a part of (its key is ``whole#start``), or is."""
        whole, sign, start = self.key.rpartition("#")
        return whole if sign and start.isdecimal() else self.key

    def at(self, *stage: str | int) -> Draw:
        """The same draw in a stage of its own, so that two stages never share random numbers."""
        return Draw(self.seed, self.epoch, self.key, self.position, self.progress, self.group, (*self.stage, *stage))

    def _digest(self, purpose: tuple[str | int, ...]) -> bytes:
        text = repr((self.seed, self.epoch, self.key, self.stage, purpose))
        return blake2b(text.encode(), digest_size=16).digest()

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A generator keyed by (seed, epoch, key, stage, purpose). Costs some 20 microseconds; see :meth:`uniform`."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest(purpose), "little")))

    def uniform(self, count: int, *purpose: str | int) -> NDArray[np.float64]:
        """(count,) uniform numbers in [0, 1), by a keyed hash (SplitMix64 of a counter), for where speed matters [0].

        [0] Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
        """
        first = int.from_bytes(self._digest(purpose)[:8], "little")
        if count == 1:
            return np.array([_mixed(first)])
        start = np.uint64(first)
        state = _STEPS[:count] + start if count <= len(_STEPS) else start + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
            state ^= state >> np.uint64(shift)
            state *= factor
        state ^= state >> np.uint64(31)
        state >>= np.uint64(11)
        return state.astype(np.float64) * 2.0**-53


def _mixed(start: int) -> float:
    """The first of the numbers, without arrays."""
    state = (start + int(_GOLDEN)) & _WORD
    state = ((state ^ (state >> 30)) * int(_MIX_1)) & _WORD
    state = ((state ^ (state >> 27)) * int(_MIX_2)) & _WORD
    return ((state ^ (state >> 31)) >> 11) * 2.0**-53


_WORD = (1 << 64) - 1
