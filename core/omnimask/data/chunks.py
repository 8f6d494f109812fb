"""Sequential reading of samples, packed up to a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Place
from omnimask.interfaces import MaskedBatch, Sample


@dataclass(frozen=True)
class Chunk:
    """Samples to compute together: their data set indices, their tokens, and both packed (on the host)."""

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]
    batch: MaskedBatch


def read_chunks(pipeline: Pipeline, indices: Sequence[int], budget: int, bad: dict[int, str]) -> Iterator[Chunk]:
    """Yield the samples in order, packed up to ``budget`` tokens (at least one sample). Unreadable ones are added to ``bad``."""
    pending: list[tuple[int, Sample]] = []
    tokens = 0
    for index in indices:
        try:
            sample = pipeline.sample(Place(0, 0, int(index), 0.0))
        except (OSError, ValueError) as error:
            bad[int(index)] = f"{type(error).__name__}: {error}"
            continue
        if pending and tokens + len(sample) > budget:
            yield _packed(pipeline, pending)
            pending, tokens = [], 0
        pending.append((int(index), sample))
        tokens += len(sample)
    if pending:
        yield _packed(pipeline, pending)


def _packed(pipeline: Pipeline, pending: Sequence[tuple[int, Sample]]) -> Chunk:
    indices, samples = zip(*pending, strict=True)
    return Chunk(indices, samples, pipeline.pack(samples))
