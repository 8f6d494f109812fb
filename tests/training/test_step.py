"""One optimizer step: accumulation, the finite check, precision."""

from __future__ import annotations

import math

import pytest
import torch

from omnimask.data.loader import LoadedStep
from omnimask.data.planner import Cursor
from omnimask.errors import RunStopped


def gradient(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_accumulation_does_not_change_the_gradient(runs, tiny, batch_of) -> None:
    model = tiny(dropout=0.0)
    runner = runs.trainer(model=model).runner
    found, losses = [], []
    for size in (8, 4, 1):
        loss, terms = runner.accumulate([batch_of(range(i, i + size)) for i in range(0, 8, size)])
        found.append(gradient(model))
        losses.append((loss.item(), terms["values"].item(), terms["size"].item()))
        runner.optimizer.zero_grad()
    assert found[0].norm() > 0.1
    for other, loss in zip(found[1:], losses[1:], strict=True):
        assert (other - found[0]).norm() / found[0].norm() <= 1e-6  # summation order alone: 1e-7 measured
        assert loss == pytest.approx(losses[0], abs=1e-6)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_that_is_not_finite_touches_nothing(runs, tiny, stream, batch_of, fingerprint, kind) -> None:
    trainer = runs.trainer()
    runner, model = trainer.runner, trainer.state.model
    step = LoadedStep(0, [batch_of(range(8))], (), Cursor())
    runner(step)
    before = fingerprint(trainer)
    model.poison = (lambda loss: loss * math.nan) if kind == "loss" else (lambda loss: loss + (loss - loss).sqrt().sum())
    result = runner(step)
    assert result.skipped == f"non-finite {kind}" and result.is_failure
    assert math.isfinite(result.loss) == (kind == "gradient")
    after = fingerprint(trainer)
    assert after == before
    assert all(p.grad is None for p in model.parameters())


def test_ten_failures_in_a_row_stop_the_run_with_the_last_checkpoint_intact(runs, lines) -> None:
    trainer = runs.trainer(steps=30, checkpoint_every=2)
    model = trainer.state.model
    calls = iter(range(10_000))
    model.poison = lambda loss: loss * math.nan if next(calls) >= 2 * 4 and model.training else loss
    with pytest.raises(RunStopped, match="10 steps in a row"):
        trainer.fit()
    assert trainer.progress.skipped_steps >= 10
    newest = trainer.checkpoints.newest()
    assert newest is not None and trainer.progress.step <= 16
    weights = runs.trainer(steps=30)
    weights.restore(newest)
    assert all(torch.isfinite(p).all() for p in weights.state.model.parameters())
    assert [line["loss"] for line in lines(trainer.directory.path) if "loss" in line][-1] is None


def test_nine_failures_in_a_row_do_not(runs) -> None:
    trainer = runs.trainer(steps=20)
    failing = set(range(5, 14))
    steps = iter(range(1000))
    model = trainer.state.model
    stream_step = {"now": -1}

    def poison(loss):
        return loss * math.nan if model.training and stream_step["now"] in failing else loss

    model.poison = poison
    trainer.data.steps.before = lambda step: stream_step.update(now=step)
    summary = trainer.fit()
    assert summary["status"] == "finished" and summary["skipped_steps"] == 9 and next(steps) == 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(runs, precision) -> None:
    trainer = runs.trainer(precision=precision, ema=None)
    assert (trainer.precision.scaler is not None) == (precision == "fp16")
    first = {name: p.clone() for name, p in trainer.state.model.named_parameters()}
    summary = trainer.fit()
    assert math.isfinite(summary["loss"]) and all(p.dtype == torch.float32 for p in trainer.state.model.parameters())
    assert any(not torch.equal(p, first[name]) for name, p in trainer.state.model.named_parameters())


def test_an_overflow_of_the_fp16_scale_is_no_failure(runs, batch_of) -> None:
    trainer = runs.trainer(precision="fp16", ema=None)
    step = LoadedStep(0, [batch_of(range(8))], (), Cursor())
    trainer.state.model.poison = lambda loss: loss + (loss - loss).sqrt().sum()
    scale = trainer.precision.scaler.get_scale()
    result = trainer.runner(step)
    assert result.skipped == "non-finite gradient" and not result.is_failure
    assert trainer.precision.scaler.get_scale() == scale / 2


def test_auto_is_fp32_on_cpu(runs) -> None:
    assert runs.trainer(precision="auto").precision.name == "fp32"


def test_clipping_bounds_the_norm(runs, batch_of) -> None:
    trainer = runs.trainer(clip=0.01, optimizer=lambda context: _sgd(context), ema=None, schedule=None)
    model = trainer.state.model
    before = torch.cat([p.detach().clone().flatten() for p in model.parameters()])
    result = trainer.runner(LoadedStep(0, [batch_of(range(8))], (), Cursor()))
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert result.grad_norm > 0.01
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def _sgd(context):
    from omnimask.training.optim.optimizers import SGD

    return SGD(context, lr=1.0, momentum=0.0)


def test_ema_follows_its_formula(runs, batch_of) -> None:
    trainer = runs.trainer(ema=0.5)
    model, ema = trainer.state.model, trainer.state.ema
    expected = model.head.weight.detach().clone()
    for step in range(8):
        trainer.runner(LoadedStep(step, [batch_of(range(8))], (), Cursor()))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.head.weight.detach()
    assert torch.allclose(ema.averages["head.weight"], expected, atol=1e-6)
    raw = model.head.weight.detach().clone()
    with ema.applied():
        assert torch.equal(model.head.weight, ema.averages["head.weight"]) is False  # swapped: the averages hold the raw weights
        assert torch.allclose(model.head.weight, expected, atol=1e-6)
    assert torch.equal(model.head.weight, raw)
