"""One optimiser step: forward and backward over its micro-batches, the finite check, and the update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from omnimask.data.loader import LoadedStep
from omnimask.interfaces import MaskedBatch
from omnimask.packed import to_device
from omnimask.training.ema import Ema
from omnimask.training.masking import mask_shares
from omnimask.training.precision import Precision
from omnimask.training.schedules import Schedule
from omnimask.training.seeding import seed_torch

Skipped = Literal["non-finite loss", "non-finite gradient", "no readable sample", "nothing to answer"]


@dataclass(frozen=True)
class StepResult:
    """What a step gave.

    ``terms`` () each stay on the device until they are logged. ``skipped`` says why the weights were not touched, None if they
    were. ``is_failure``: a number was not finite, and not just because an fp16 loss scale is still being found. ``masking`` are
    :func:`omnimask.training.masking.mask_shares`.
    """

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    samples: int
    terms: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    skipped: Skipped | None = None
    is_failure: bool = False
    masking: Mapping[str, float] = field(default_factory=dict[str, float])


class StepRunner:
    """Takes steps with a model; knows no files and no other ranks' data.

    On a CUDA device the host waits once a step, for the loss and the gradient norm that decide whether the update may happen.

    Args:
        model: trained in place; on ``device``.
        optimizer: its groups' ``initial_lr`` are the peak learning rates.
        schedule: factor of the peak.
        precision: of the forward pass.
        steps: length of the run.
        clip: largest gradient norm, None for no clipping.
        ema: averaged weights, None if there are none.
        seed, rank: seed torch's generators, together with the step.
        device: where batches go.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        *,
        steps: int,
        clip: float | None,
        ema: Ema | None,
        seed: int,
        rank: int,
        device: torch.device,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.precision = precision
        self.steps = steps
        self.clip = clip
        self.ema = ema
        self.seed = seed
        self.rank = rank
        self.device = device
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def __call__(self, loaded: LoadedStep) -> StepResult:
        """Takes one step; a step that gives no finite update changes neither weights nor optimiser state."""
        seed_torch(self.device, self.seed, "step", loaded.step, self.rank)
        lr = self.set_learning_rate(loaded.step)
        tokens = sum(batch.num_tokens for batch in loaded.batches)
        samples = sum(batch.num_samples for batch in loaded.batches)
        if not loaded.batches:
            return StepResult(math.nan, math.nan, lr, 0, 0, skipped="no readable sample")
        self.model.train()
        try:
            loss, terms = self.accumulate(loaded.batches)
            values = self._update(loss)
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        masking = mask_shares(loaded.batches)
        return StepResult(values.loss, values.grad_norm, lr, tokens, samples, terms, values.skipped, values.is_failure, masking)

    def set_learning_rate(self, step: int) -> float:
        """Sets the rate of every group for a step, times its ``lr_scale`` if it has one; returns the first one's, unscaled."""
        factor = self.schedule(step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor * group.get("lr_scale", 1.0)
        return self.optimizer.param_groups[0]["initial_lr"] * factor

    def accumulate(self, batches: Sequence[MaskedBatch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of the whole step, however it is cut into micro-batches; its loss () and terms () on the device."""
        denominators = total_counts(self.model, batches)
        loss = torch.zeros((), device=self.device)
        terms: dict[str, Tensor] = {}
        for batch in batches:
            moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
            with self.precision.autocast():
                output = self.model(moved, denominators)
            if output.loss.requires_grad:  # it does not where a micro-batch has nothing to answer
                self._scaled(output.loss).backward()
            loss = loss + output.loss.detach().float()
            for name, term in output.terms.items():
                terms[name] = terms[name] + term.detach() if name in terms else term.detach()
        return loss, terms

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.precision.scaler is None else self.precision.scaler.scale(loss)

    def _update(self, loss: Tensor) -> _Values:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return _Values(loss.item(), 0.0, "nothing to answer")
        scaler = self.precision.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            return self._refuse(loss_value, norm_value)
        if self.clip is not None and norm_value > self.clip:  # the norm is on the host already: a pass over all gradients is spared
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        if self.ema is not None:
            self.ema.update()
        return _Values(loss_value, norm_value)

    def _refuse(self, loss: float, norm: float) -> _Values:
        scaler = self.precision.scaler
        is_searching = scaler is not None and math.isfinite(loss) and scaler.get_scale() > 1
        if scaler is not None:
            scaler.update()
        reason = "non-finite gradient" if math.isfinite(loss) else "non-finite loss"
        return _Values(loss, norm, reason, is_failure=not is_searching)


@dataclass(frozen=True)
class _Values:
    loss: float
    grad_norm: float
    skipped: Skipped | None = None
    is_failure: bool = False


def total_counts(model: nn.Module, batches: Sequence[MaskedBatch]) -> dict[str, float]:
    """Denominators by term, summed over micro-batches; known before any forward."""
    totals: dict[str, float] = {}
    for batch in batches:
        for name, count in model.counts(batch).items():  # pyright: ignore[reportCallIssue]
            totals[name] = totals.get(name, 0.0) + count
    return totals
