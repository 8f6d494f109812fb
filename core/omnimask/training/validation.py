"""The loss and the scores on held-out batches, which are the same, masks included, at every validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omnimask.interfaces import MaskedBatch
from omnimask.packed import to_device
from omnimask.scoring import Score
from omnimask.training.precision import Precision
from omnimask.training.seeding import seed_torch


@dataclass(frozen=True)
class Validation:
    """``loss`` weighted, its ``terms``, and ``scores`` by term and name, each the mean over the term's targets."""

    loss: float
    terms: Mapping[str, float]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


class Validator:
    """Mean of every loss term and score over all held-out batches.

    Args:
        model: evaluated with whatever weights it holds.
        batches: gives the same batches at every call. The first validation reads them twice, to count the denominators.
        precision: of the forward pass.
        device: where batches go.
        seed: of torch's generators, the same at every validation.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Callable[[], Iterable[MaskedBatch]],
        precision: Precision,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model = model
        self.batches = batches
        self.precision = precision
        self.device = device
        self.seed = seed
        self._denominators: dict[str, float] | None = None

    @torch.no_grad()
    def __call__(self) -> Validation:
        seed_torch(self.device, self.seed, "validation")
        self.model.eval()
        denominators = self._counted()
        losses: list[Tensor] = []
        terms: dict[str, list[Tensor]] = {}
        scores: dict[str, dict[str, list[Score]]] = {}
        for batch in self.batches():
            moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
            with self.precision.autocast():
                output = self.model(moved, denominators, is_scored=True)
            losses.append(output.loss)
            for name, term in output.terms.items():
                terms.setdefault(name, []).append(term)
            for term, found in output.scores.items():
                for name, score in found.items():
                    scores.setdefault(term, {}).setdefault(name, []).append(score)
        means = {term: {name: mean(parts) for name, parts in found.items()} for term, found in scores.items()}
        return Validation(total(losses), {name: total(parts) for name, parts in terms.items()}, means)

    def _counted(self) -> dict[str, float]:
        if self._denominators is None:
            totals: dict[str, float] = {}
            for batch in self.batches():
                for name, count in self.model.counts(batch).items():  # pyright: ignore[reportCallIssue]
                    totals[name] = totals.get(name, 0.0) + count
            self._denominators = totals
        return self._denominators


def total(parts: list[Tensor]) -> float:
    """Sum of () tensors, in float64 on the host; they are fetched together."""
    return torch.stack(parts).cpu().double().sum().item() if parts else float("nan")


def mean(parts: list[Score]) -> float:
    """Mean over all targets."""
    return total([part.total for part in parts]) / sum(part.count for part in parts)
