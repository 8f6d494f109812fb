"""The loss on held-out batches, which are the same, masks included, at every validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from omnimask.interfaces import MaskedBatch
from omnimask.packed import to_device
from omnimask.training.precision import Precision
from omnimask.training.seeding import seed_torch


class Validator:
    """Mean of every loss term over all held-out batches.

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
    def __call__(self) -> tuple[float, dict[str, float]]:
        """The weighted loss, and its terms."""
        seed_torch(self.device, self.seed, "validation")
        self.model.eval()
        denominators = self._counted()
        losses: list[Tensor] = []
        terms: dict[str, list[Tensor]] = {}
        for batch in self.batches():
            moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
            with self.precision.autocast():
                output = self.model(moved, denominators)
            losses.append(output.loss)
            for name, term in output.terms.items():
                terms.setdefault(name, []).append(term)
        return total(losses), {name: total(parts) for name, parts in terms.items()}

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
