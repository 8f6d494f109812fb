"""Scores of validations: means over all targets, beside baselines, in every place that says how a run went."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from omnimask.network.model import Score
from omnimask.training.devices.precision import Precision
from omnimask.training.monitoring.jsonl_writer import read_metrics
from omnimask.training.validation import Validator

BASELINES = {"values": {"accuracy": 0.25}}


@dataclasses.dataclass
class ScoredOutput:
    loss: Any
    terms: Any
    scores: Any


@pytest.fixture
def scored(tiny: Any) -> type:
    """The tiny model, whose answers are right in the batches' own first number."""

    class ScoredModel(tiny):
        def forward(self, batch: Any, denominators: Any, *, is_scored: bool = False) -> Any:
            output = super().forward(batch, denominators)
            values = (batch.inputs[:, 0] > 0).float()
            scores = {"values": {"accuracy": Score(values.sum(), len(values))}} if is_scored else {}
            return ScoredOutput(output.loss, output.terms, scores)

    return ScoredModel


def test_a_mean_is_over_targets_not_over_batches(scored: type, batch_of: Any) -> None:
    batches = [batch_of([4, 9, 14]), batch_of([0])]
    cpu = torch.device("cpu")
    model: nn.Module = scored()
    found = Validator(model, lambda: batches, Precision("fp32", cpu), cpu, 0)()
    first = torch.cat([batch.inputs[:, 0] for batch in batches])
    assert found.scores["values"]["accuracy"] == pytest.approx((first > 0).double().mean().item())
    assert len(batches[0].inputs) != len(batches[1].inputs)


def test_a_runs_files_say_its_scores(runs: Any, scored: type) -> None:
    calls: list[int] = []

    def baselines() -> Any:
        calls.append(1)
        return BASELINES

    trainer = runs.trainer(model=scored(), validate_every=6, trainer_options={"baselines": baselines})
    summary = trainer.fit()
    lines = [line for line in read_metrics(trainer.directory.metrics) if "validation_loss" in line]
    assert len(lines) == 2 and len(calls) == 1
    accuracy = lines[-1]["validation_values_accuracy"]
    assert summary["validation_scores"] == {"values": {"accuracy": accuracy}}
    assert summary["best_validation_scores"] == {"values": {"accuracy": accuracy}}
    assert summary["baseline_scores"] == BASELINES


def test_a_run_without_scores_asks_for_no_baselines(runs: Any) -> None:
    trainer = runs.trainer(trainer_options={"baselines": lambda: pytest.fail("nothing to compare with")})
    summary = trainer.fit()
    assert summary["validation_scores"] == summary["baseline_scores"] == {}


def test_scores_outlive_a_resume(runs: Any, scored: type) -> None:
    first = runs.trainer("a", model=scored(), steps=6)
    summary = first.fit()
    again = runs.trainer("a", model=scored(), steps=6)
    again.restore()
    assert again.progress.best_scores == summary["best_validation_scores"]
    assert again.progress.best_step == summary["best_step"] == 6


def test_a_score_of_which_nothing_was_asked_is_no_number() -> None:
    from omnimask.training.validation import _means

    found = _means({("loss",): 1.0, ("batches",): 1, ("score", "mlm", "accuracy"): 0.0, ("count", "mlm", "accuracy"): 0})
    assert str(found.scores["mlm"]["accuracy"]) == "nan"
