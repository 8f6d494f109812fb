"""Loss and scores on held-out batches. Batches and their masks are the same at every validation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from omnimask.data.progress_lines import Paced
from omnimask.interfaces import LearnsVectors, MaskedBatch
from omnimask.packed import to_device
from omnimask.registry.observers import LearnedSpread, Validation
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.ranks import Name, Ranks
from omnimask.training.devices.replicas import Replicas
from omnimask.training.learned_rows import LearnedRows
from omnimask.training.seeding import seed_torch
from omnimask.training.step import summed

BATCHES_AT_START = 8
"""Maximum number of batches, over all ranks, from which learned vectors are measured before the first step."""


@dataclass(frozen=True)
class Scored:
    """Number of held-out samples scored per validation."""

    samples: int
    held_out: int

    def __str__(self) -> str:
        return f"{self.samples:,} of {self.held_out:,} held-out samples"


class Validator:
    """Mean of every loss term and score over held-out batches.

    Args:
        model: evaluated with its current weights.
        batches: returns this rank's share of the batches, the same at every call. The first validation reads them twice, to count
            the denominators.
        precision: of the forward pass.
        device: of the batches.
        seed: of torch's generators, the same at every validation.
        parallel: parallelism of the model; the default is one rank.
        num_samples: in the batches of all ranks, for progress; None if unknown, which disables progress messages.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Callable[[], Iterable[MaskedBatch]],
        precision: Precision,
        device: torch.device,
        seed: int,
        parallel: Replicas | None = None,
        num_samples: int | None = None,
    ) -> None:
        self.model = model
        self.batches = batches
        self.precision = precision
        self.device = device
        self.seed = seed
        self.parallel = parallel or Replicas(Ranks())
        self.ranks = self.parallel.ranks
        self.num_samples = num_samples
        self._doing = "validation"
        self._denominators: dict[str, float] | None = None

    @torch.no_grad()
    def __call__(self, after: str = "") -> Validation:
        """Score the batches. ``after`` names the point of the run in progress messages."""
        self._doing = f"validation {after}".rstrip()
        self.model.eval()
        denominators = self._counted()
        parts: dict[Name, list[Tensor]] = {("loss",): []}
        counts: dict[Name, float] = {}
        rows = LearnedRows()
        with self.parallel.whole(self.model):
            for number, batch in enumerate(self._told("samples are scored")):
                output = self._output(number, batch, denominators, rows)
                parts["loss",].append(output.loss)
                for name, term in output.terms.items():
                    parts.setdefault(("term", name), []).append(term)
                for term, found in output.scores.items():
                    for name, score in found.items():
                        parts.setdefault(("score", term, name), []).append(score.total)
                        counts["count", term, name] = counts.get(("count", term, name), 0) + score.count
        numbers = {name: total(several) for name, several in parts.items()}
        sums = self.ranks.sums({**numbers, **counts, ("batches",): len(parts["loss",])}, kind="validation")
        return _means(sums, rows.measured(self.ranks))

    @torch.no_grad()
    def at_start(self) -> Mapping[str, LearnedSpread]:
        """Measure the learned vectors of the first batches with the current weights, by term. Without such targets nothing runs."""
        if not any(isinstance(module, LearnsVectors) for module in self.model.modules()):
            return {}
        self.model.eval()
        rows = LearnedRows()
        with self.parallel.whole(self.model):
            for number, batch in enumerate(itertools.islice(self.batches(), max(1, BATCHES_AT_START // self.ranks.world))):
                self._output(number, batch, self.model.counts(batch), rows)  # pyright: ignore[reportCallIssue]
        return rows.measured(self.ranks)

    def _output(self, number: int, batch: MaskedBatch, denominators: Mapping[str, float], rows: LearnedRows) -> Any:
        """Return the model's output for this rank's batch of this number, and collect its learned vectors."""
        number = self.ranks.rank + number * self.ranks.world
        seed_torch(self.device, self.seed, "validation", number)
        moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
        with self.precision.autocast():
            output = self.parallel.evaluate(self.model, moved, denominators)
        rows.add(number, getattr(output, "learned", {}))  # models other than MaskedModel may have none
        return output

    def _counted(self) -> dict[str, float]:
        """Return the denominators by term over all ranks."""
        if self._denominators is None:
            batches = self._told("samples are read to count their targets")
            mine = summed(self.model.counts(batch) for batch in batches)  # pyright: ignore[reportCallIssue]
            shared = self.ranks.sums({(name,): count for name, count in mine.items()}, kind="denominators")
            self._denominators = {name: count for (name,), count in shared.items()}
        return self._denominators

    def _told(self, of: str) -> Iterator[MaskedBatch]:
        """Yield this rank's batches and log the progress of all ranks, estimated from this one."""
        tell = None if self.num_samples is None else Paced(self.num_samples, self._doing, of)
        done = 0
        for batch in self.batches():
            yield batch
            if tell is not None:
                done += batch.num_samples
                tell(done * self.ranks.world)


def _means(sums: Mapping[Name, float], learned: Mapping[str, LearnedSpread] | None = None) -> Validation:
    """Compute means from sums over all batches, and add the measurements of learned vectors. A score without targets is NaN."""
    terms = {name[1]: value for name, value in sums.items() if name[0] == "term"}
    scores: dict[str, dict[str, float]] = {}
    for name, value in sums.items():
        if name[0] == "score":
            count = sums["count", *name[1:]]
            scores.setdefault(name[1], {})[name[2]] = value / count if count else float("nan")
    for term, measured in (learned or {}).items():
        scores[term] = {**scores.get(term, {}), **measured.scores}
    return Validation(sums["loss",] if sums["batches",] else float("nan"), terms, scores, learned or {})


def total(parts: list[Tensor]) -> float:
    """Sum () tensors in float64 on the host, with a single transfer."""
    return torch.stack(parts).cpu().double().sum().item() if parts else 0.0
