"""Loss and scores on held-out batches. Batches and their masks are the same at every validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omnimask.data.progress_lines import Paced
from omnimask.interfaces import MaskedBatch
from omnimask.packed import to_device
from omnimask.registry.observers import Validation
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.ranks import Name, Ranks
from omnimask.training.devices.replicas import Replicas
from omnimask.training.seeding import seed_torch
from omnimask.training.step import summed


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
        with self.parallel.whole(self.model):
            for number, batch in enumerate(self._told("samples are scored")):
                seed_torch(self.device, self.seed, "validation", self.ranks.rank + number * self.ranks.world)
                moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
                with self.precision.autocast():
                    output = self.parallel.evaluate(self.model, moved, denominators)
                parts["loss",].append(output.loss)
                for name, term in output.terms.items():
                    parts.setdefault(("term", name), []).append(term)
                for term, found in output.scores.items():
                    for name, score in found.items():
                        parts.setdefault(("score", term, name), []).append(score.total)
                        counts["count", term, name] = counts.get(("count", term, name), 0) + score.count
        numbers = {name: total(several) for name, several in parts.items()}
        return _means(self.ranks.sums({**numbers, **counts, ("batches",): len(parts["loss",])}, kind="validation"))

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


def _means(sums: Mapping[Name, float]) -> Validation:
    """Compute means from sums over all batches. A score without targets is NaN."""
    terms = {name[1]: value for name, value in sums.items() if name[0] == "term"}
    scores: dict[str, dict[str, float]] = {}
    for name, value in sums.items():
        if name[0] == "score":
            count = sums["count", *name[1:]]
            scores.setdefault(name[1], {})[name[2]] = value / count if count else float("nan")
    return Validation(sums["loss",] if sums["batches",] else float("nan"), terms, scores)


def total(parts: list[Tensor]) -> float:
    """Sum () tensors in float64 on the host, with a single transfer."""
    return torch.stack(parts).cpu().double().sum().item() if parts else 0.0
