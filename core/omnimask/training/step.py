"""One optimizer step: forward and backward over its micro-batches, the finite check, and the update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omnimask.data.loader import LoadedStep
from omnimask.interfaces import MaskedBatch
from omnimask.network.network import FollowsWeights
from omnimask.packed import to_device
from omnimask.registry.observers import Skipped, StepResult
from omnimask.training.devices.memory import is_out_of_memory
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.ranks import Name, Ranks
from omnimask.training.devices.replicas import Replicas
from omnimask.training.monitoring.mask_shares import mask_counts, mask_shares
from omnimask.training.optim.ema import Ema
from omnimask.training.optim.schedules import Schedule
from omnimask.training.seeding import seed_torch


@dataclass(frozen=True)
class Totals:
    """Host numbers of a step, summed over all ranks before the forward pass."""

    denominators: Mapping[str, float]
    tokens: int = 0
    samples: int = 0
    bad: int = 0
    retries: int = 0
    masking: Mapping[str, float] = field(default_factory=dict[str, float])


class StepRunner:
    """Runner of optimizer steps, together with other ranks. Independent of files.

    Denominators are summed over micro-batches and ranks before the first forward pass, gradients and losses after the last backward
    pass. Nothing is averaged, so the split over micro-batches and ranks does not change a step. On a CUDA device the host
    synchronizes once a step, for the loss and the gradient norm that decide on the update.

    Args:
        model: trained in place; on ``device``.
        optimizer: its groups' ``initial_lr`` are the peak learning rates.
        schedule: factor of the peak.
        precision: of the forward pass.
        steps: length of the run.
        clip: largest gradient norm; None for no clipping.
        ema: averaged weights; None if there are none.
        seed: seeds torch's generators, together with the step and the rank.
        device: of the batches.
        parallel: parallelism of the model; the default is one rank.
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
        device: torch.device,
        parallel: Replicas | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.precision = precision
        self.steps = steps
        self.clip = clip
        self.ema = ema
        self.seed = seed
        self.device = device
        self.parallel = parallel or Replicas(Ranks())
        self.ranks = self.parallel.ranks
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def totals(self, loaded: LoadedStep | None, failure: Exception | None = None) -> Totals:
        """Return the host numbers of a step, summed over ranks.

        Args:
            loaded: this rank's share; None if there is none.
            failure: error of this rank.

        Raises:
            RunStopped: a rank failed.
        """
        return totals_of(self.ranks.sums({} if loaded is None else shared_numbers(self.model, loaded), failure))

    def __call__(self, loaded: LoadedStep, totals: Totals | None = None) -> StepResult:
        """Take one step. Without a finite update, weights and optimizer state stay unchanged."""
        totals = totals or self.totals(loaded)
        seed_torch(self.device, self.seed, "step", loaded.step, self.ranks.rank)
        lr = self.set_learning_rate(loaded.step)
        if not totals.samples:
            return StepResult(math.nan, math.nan, lr, 0, 0, skipped="no readable sample")
        if not any(totals.denominators.values()):
            seen = (totals.tokens, totals.samples)
            return StepResult(math.nan, math.nan, lr, *seen, skipped="nothing to answer", is_failure=True, masking=totals.masking)
        self.model.train()
        try:
            loss, terms = self._forward_and_backward(loaded.batches, totals.denominators)
            values = self._update(loss, loaded.step)
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return StepResult(
            values.loss,
            values.grad_norm,
            lr,
            totals.tokens,
            totals.samples,
            terms,
            values.skipped,
            values.is_failure,
            totals.masking,
        )

    def set_learning_rate(self, step: int) -> float:
        """Set the rate of every group for a step, times its optional ``lr_scale``. Return the rate of the first group, unscaled."""
        factor = self.schedule(step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor * group.get("lr_scale", 1.0)
        return self.optimizer.param_groups[0]["initial_lr"] * factor

    def accumulate(
        self, batches: Sequence[MaskedBatch], denominators: Mapping[str, float] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Accumulate this rank's gradients of the step over micro-batches. Return its loss () and terms () on the device.

        If ``denominators`` is None, they are summed over these micro-batches.
        """
        counts = [self.model.counts(batch) for batch in batches]  # pyright: ignore[reportCallIssue]
        denominators = summed(counts) if denominators is None else denominators
        loss = torch.zeros((), device=self.device)
        terms: dict[str, Tensor] = {}
        with self.parallel.step(counts):
            for number, batch in enumerate(batches, start=1):
                moved = batch if self.device.type == "cpu" else to_device(batch, self.device, non_blocking=True)
                with self.precision.autocast():
                    output = self.parallel.forward(self.model, moved, denominators, is_last=number == len(batches))
                if output.loss.requires_grad:  # False for a micro-batch without targets
                    self._scaled(output.loss).backward()
                loss = loss + output.loss.detach().float()
                for name, term in output.terms.items():
                    terms[name] = terms[name] + term.detach() if name in terms else term.detach()
        return loss, terms

    def _forward_and_backward(
        self, batches: Sequence[MaskedBatch], denominators: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the gradients of the whole step, and its loss and terms."""
        failure: BaseException | None = None
        loss, terms = torch.zeros((), device=self.device), dict[str, Tensor]()
        try:
            loss, terms = self.accumulate(batches, denominators)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        self.parallel.reduce([p for group in self.optimizer.param_groups for p in group["params"]], failure)
        return self._over_ranks(loss, terms, sorted(denominators))

    def _over_ranks(self, loss: Tensor, terms: Mapping[str, Tensor], names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        if self.ranks.world == 1:
            return loss, dict(terms)
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        numbers = torch.stack([loss.double(), *(terms[name].double() if name in terms else zero for name in names)])
        self.ranks.add(numbers).wait()
        return numbers[0], dict(zip(names, numbers[1:], strict=True))

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.precision.scaler is None else self.precision.scaler.scale(loss)

    def _update(self, loss: Tensor, step: int) -> _Values:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return _Values(loss.item(), 0.0, "nothing to answer", is_failure=True)
        scaler = self.precision.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norm = self.parallel.norm([p.grad for p in parameters if p.grad is not None])
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            return self._refuse(loss_value, norm_value)
        if self.clip is not None and norm_value > self.clip:  # the norm is on the host: skip a pass over all gradients
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        if self.ema is not None:
            self.ema.update()
        if isinstance(self.model, FollowsWeights):
            self.model.after_update(step / self.steps)
        return _Values(loss_value, norm_value)

    def _refuse(self, loss: float, norm: float) -> _Values:
        scaler = self.precision.scaler
        # a finite loss with non-finite gradients: the scaler still searches for its scale, which is not a failure
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


def shared_numbers(model: nn.Module, loaded: LoadedStep) -> dict[Name, float]:
    """Return the contribution of one rank to a step's :class:`Totals`."""
    batches = loaded.batches
    counts = summed([model.counts(batch) for batch in batches])  # pyright: ignore[reportCallIssue]
    return {
        ("tokens",): sum(batch.num_tokens for batch in batches),
        ("samples",): sum(batch.num_samples for batch in batches),
        ("bad",): len(loaded.bad),
        ("retries",): loaded.retries,
        **{("divisor", name): count for name, count in counts.items()},
        **{("masking", *name): count for name, count in mask_counts(batches).items()},
    }


def totals_of(numbers: Mapping[Name, float]) -> Totals:
    """Convert the sums over ranks of :func:`shared_numbers` to totals."""

    def called(kind: str) -> dict[Name, float]:
        return {name[1:]: number for name, number in numbers.items() if name[0] == kind}

    tokens, samples, bad, retries = (int(numbers.get((name,), 0)) for name in ("tokens", "samples", "bad", "retries"))
    divisors = {name: count for (name,), count in called("divisor").items()}
    return Totals(divisors, tokens, samples, bad, retries, mask_shares(called("masking")))


def summed(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sum denominators by term over micro-batches."""
    totals: dict[str, float] = {}
    for count in counts:
        for name, number in count.items():
            totals[name] = totals.get(name, 0.0) + number
    return totals
