"""The draws of a batch of samples, for components that handle all samples at once. B samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from omnimask.interfaces.draw import GOLDEN, Draw, uniform_of

_MOST_STEPS = 1 << 20
"""Largest table of precomputed increments that is kept: 8 MiB."""


class Draws(Sequence[Draw]):
    """The draws of B samples, all in one further stage.

    ``draws.at("masker")[i]`` equals ``draws[i].at("masker")``, and ``draws.uniform(counts, "order")`` equals the concatenation of
    ``draws[i].uniform(counts[i], "order")``, bit for bit. A purpose costs one digest per sample; the part of a digest that all
    purposes of a sample share is computed once.
    """

    def __init__(self, draws: Iterable[Draw]) -> None:
        self._shared = _Shared(tuple(draws))
        self._stage: tuple[str | int, ...] = ()

    def __len__(self) -> int:
        return len(self._shared.draws)

    @overload
    def __getitem__(self, index: int) -> Draw: ...
    @overload
    def __getitem__(self, index: slice) -> Draws: ...
    def __getitem__(self, index: int | slice) -> Draw | Draws:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        draw = self._shared.draws[index]
        return draw.at(*self._stage) if self._stage else draw

    def __iter__(self) -> Iterator[Draw]:
        return iter(self._shared.draws) if not self._stage else (draw.at(*self._stage) for draw in self._shared.draws)

    def at(self, *stage: str | int) -> Draws:
        """Return the same draws in their own stage, as :meth:`Draw.at`."""
        return self._with(self._shared, (*self._stage, *stage))

    def take(self, rows: ArrayLike) -> Draws:
        """Return the draws of the samples ``rows`` (B',)."""
        chosen: list[int] = np.asarray(rows, np.int64).tolist()
        if chosen == list(range(len(self))):
            return self
        return self._with(_Shared(tuple(self._shared.draws[row] for row in chosen)), self._stage)

    def repeated(self, times: int, *stage: str | int) -> Draws:
        """Return the draws of ``times`` repetitions of every sample, one after another, (B * times,).

        The first repetition of a sample has its own draw, and repetition i > 0 the draw in the stage ``(*stage, i)``.
        """
        shared = _Shared(tuple(one for draw in self for one in (draw, *(draw.at(*stage, i) for i in range(1, times)))))
        shared.digests = [digest for digest in self._shared.digests for _ in range(times)]
        return self._with(shared, ())

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the samples."""
        return tuple(draw.key for draw in self._shared.draws)

    @property
    def progress(self) -> NDArray[np.float64]:
        """Share of the run completed at each sample, (B,)."""
        return np.array([draw.progress for draw in self._shared.draws], np.float64)

    def uniform(self, counts: ArrayLike, *purpose: str | int) -> NDArray[np.float64]:
        """Return ``counts[i]`` uniform numbers in [0, 1) of every sample i, concatenated; see :meth:`Draw.uniform`.

        Samples with a count of 0 cost nothing.
        """
        counts = np.asarray(counts, np.int64)
        rows = np.flatnonzero(counts)
        sizes = counts[rows]
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        # Sample by sample a counter from 1: one running counter, less its value before the sample.
        starts = self._firsts(rows, purpose) - GOLDEN * (ends - sizes).astype(np.uint64)
        return uniform_of(np.repeat(starts, sizes) + _steps(total))

    def _firsts(self, rows: NDArray[np.int64], purpose: tuple[str | int, ...]) -> NDArray[np.uint64]:
        """Return the first state of each of the samples ``rows``: the first 8 bytes of their digests."""
        shared = self._shared
        tails = {stage: f"{(*stage, *self._stage)!r}, {purpose!r})".encode() for stage in shared.stages}
        only = next(iter(tails.values())) if len(tails) == 1 else None
        numbers: list[int] = rows.tolist()
        begun = shared.digests if len(numbers) == len(self) else [shared.digests[row] for row in numbers]
        stages = [only] * len(numbers) if only is not None else [tails[shared.draws[row].stage] for row in numbers]
        digests: list[bytes] = []
        for start, tail in zip(begun, stages, strict=True):
            digest = start.copy()
            digest.update(tail)
            digests.append(digest.digest())
        return np.frombuffer(b"".join(digests), "<u8")[::2].astype(np.uint64)

    @classmethod
    def _with(cls, shared: _Shared, stage: tuple[str | int, ...]) -> Draws:
        draws = cls(())
        draws._shared, draws._stage = shared, stage
        return draws

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._shared.draws, self._stage)


class _Shared:
    """Draws, and the beginning of their digests, which all stages and purposes share."""

    def __init__(self, draws: tuple[Draw, ...]) -> None:
        self.draws = draws

    @cached_property
    def stages(self) -> set[tuple[str | int, ...]]:
        return {draw.stage for draw in self.draws}

    @cached_property
    def digests(self) -> list[Any]:
        """Return the digests of ``(seed, epoch, key,``, to be continued with stage and purpose as in :class:`Draw`."""
        return [_begun(f"({draw.seed!r}, {draw.epoch!r}, {draw.key!r}, ".encode()) for draw in self.draws]


_EMPTY = blake2b(digest_size=16)


def _begun(text: bytes) -> Any:
    digest = _EMPTY.copy()  # cheaper than a new one
    digest.update(text)
    return digest


def _restored(draws: tuple[Draw, ...], stage: tuple[str | int, ...]) -> Draws:
    return Draws(draws).at(*stage)


_tables = [GOLDEN * np.arange(1, 4097, dtype=np.uint64)]


def _steps(count: int) -> NDArray[np.uint64]:
    """Return the first ``count`` increments of the state."""
    if count > _MOST_STEPS:
        return GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
    if count > len(_tables[0]):
        _tables[0] = GOLDEN * np.arange(1, 2 ** int(count - 1).bit_length() + 1, dtype=np.uint64)
    return _tables[0][:count]
