"""Learned answers: measurements against references, the same for any ranks, and a warning for a collapse alone."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.interfaces import LearnedVectors
from omnimask.recipe import load_recipe
from omnimask.registry.observers import LearnedSpread
from omnimask.training import collapse
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.counters import Counters
from omnimask.training.devices.ranks import Ranks
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.learned_rows import LearnedRows, rankme, spread
from omnimask.training.loop import Trainer
from omnimask.training.monitoring.console import spreads

sys.path.insert(0, str(Path(__file__).parents[1]))
from toys.conftest import RECIPES, toy_registry

REGISTRY = toy_registry()
LEAKY = (
    "encoders={}",
    "passes=[{name: teacher, view: whole, grad: true, predictors: []}]",
    "predictors.0.target={name: toy.features_with_gradient, of: teacher, norm: none}",
)
SHORT = ("train.batch_tokens=96", "train.micro_batch_tokens=96", "train.checkpoint_every=60")


def trained(folder: Path, name: str, *changes: str) -> tuple[Built, Trainer]:
    built = build(load_recipe(RECIPES / f"{name}.yaml", changes, registry=REGISTRY))
    data = TrainingData(lambda cursor, number: built.loader(cursor, number), built.validation_batches)
    run = RunContext(RunDirectory(folder), torch.device("cpu"), 0, show=False)
    trainer = Trainer(built.model, data, built.recipe.train, run)
    return built, trainer


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == collapse.logger.name]


# ---- numbers


def test_rankme_against_known_spectra() -> None:
    rng = np.random.default_rng(0)
    left, right = np.linalg.qr(rng.normal(size=(40, 6)))[0], np.linalg.qr(rng.normal(size=(6, 6)))[0]
    values = np.array([4.0, 2.0, 1.0, 1.0, 0.0, 0.0])
    shares = values[:4] / 8
    assert rankme(left * values @ right) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    assert rankme(left @ right) == pytest.approx(6.0)
    assert rankme(np.ones((40, 6))) == pytest.approx(1.0)
    assert rankme(1e-20 * (left @ right)) == pytest.approx(6.0)
    assert (
        math.isnan(rankme(np.ones((1, 6)))) and math.isnan(rankme(np.full((3, 2), np.nan))) and math.isnan(rankme(np.zeros((3, 2))))
    )


def test_spread_is_independent_of_scale() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 7))
    assert spread(vectors) == pytest.approx(1.0, abs=1e-3)
    assert spread(vectors * [1e-9, 1, 1, 1e9, 1, 1, 1]) == pytest.approx(spread(vectors), rel=1e-9)
    assert spread(vectors + 10) == pytest.approx(1 / math.sqrt(101), rel=0.02)
    assert spread(np.ones((5, 3))) == 0.0 == spread(np.zeros((5, 3)))
    with_constant = np.concatenate([np.full((5000, 2), 1e6), vectors], axis=1)
    assert spread(with_constant) == pytest.approx(1.0, abs=0.02)
    assert math.isnan(spread(np.ones((1, 3)))) and math.isnan(spread(np.full((3, 2), np.inf)))


# ---- rows


class Pretended(Ranks):
    """One of several ranks in threads, which exchange values in order."""

    def __init__(self, rank: int, shared: list[Any], barrier: Barrier) -> None:
        self.rank, self.world, self._shared, self._barrier = rank, len(shared), shared, barrier

    def gathered(self, value: Any) -> list[Any]:
        self._shared[self.rank] = value
        self._barrier.wait(10)
        found = list(self._shared)
        self._barrier.wait(10)
        return found

    def first(self, make: Callable[[], Any]) -> Any:
        return self.gathered(make() if self.is_first else None)[0]


def batches() -> list[dict[str, LearnedVectors]]:
    generator = torch.Generator().manual_seed(0)
    sizes = [40, 0, 7, 90, 33]
    both = [(torch.randn(n, 6, generator=generator), torch.randn(n, 3, generator=generator)) for n in sizes]
    return [{"term": LearnedVectors("teacher", *pair)} for pair in both]


def test_the_sample_is_the_same_for_any_number_of_ranks() -> None:
    alone = LearnedRows(most=50)
    for number, found in enumerate(batches()):
        alone.add(number, found)
    expected = alone.measured(Ranks())
    assert expected["term"].rows == 50 and expected["term"].width == 6
    for world in (2, 3, 7):
        shared: list[Any] = [None] * world
        barrier = Barrier(world)

        def run(rank: int, world: int = world, shared: list[Any] = shared, barrier: Barrier = barrier) -> Any:
            rows = LearnedRows(most=50)
            for number, found in list(enumerate(batches()))[rank::world]:
                rows.add(number, found)
            return rows.measured(Pretended(rank, shared, barrier))

        with ThreadPoolExecutor(world) as pool:
            assert list(pool.map(run, range(world))) == [expected] * world


def test_all_rows_count_below_the_limit() -> None:
    rows = LearnedRows()
    for number, found in enumerate(batches()):
        rows.add(number, found)
    everything = np.concatenate([found["term"].answers.numpy() for found in batches()])
    measured = rows.measured(Ranks())["term"]
    assert measured.rows == len(everything) == 170
    assert measured.rankme == pytest.approx(rankme(everything)) and measured.spread == pytest.approx(spread(everything))


# ---- runs


def test_a_target_with_gradient_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "omnimask")
    options = ("train.steps=120", "train.validate_every=30", *SHORT)
    _, trainer = trained(tmp_path / "run", "signal_latent", *LEAKY, *options)
    trainer.fit()
    (message,) = warnings(caplog)
    assert message.startswith("the features of pass teacher have collapsed (term decoder, step ")
    assert "% of its value at the start" in message and "`decay`" in message
    assert message in (tmp_path / "run/logs/rank0.log").read_text()
    assert trainer.progress.collapsed == ["decoder"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "validation_loss" in line][-1]
    start = trainer.progress.spread_at_start["decoder"]
    assert last["validation_decoder_spread"] < 0.2 * start and last["validation_decoder_prediction_spread"] < 0.1
    assert 1 < last["validation_decoder_rankme"] < 5
    # A resumed run knows both.
    _, again = trained(tmp_path / "run", "signal_latent", *LEAKY, *options)
    again.restore()
    assert again.progress.collapsed == ["decoder"] and again.progress.spread_at_start == {"decoder": start}


@pytest.mark.parametrize(
    ("name", "term", "source"), [("signal_latent", "decoder", "teacher"), ("words_mirrored", "contrast", "again")]
)
def test_healthy_runs_are_measured_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, term: str, source: str
) -> None:
    _, trainer = trained(tmp_path / "run", name, "train.steps=60", *SHORT)
    summary = trainer.fit()
    assert warnings(caplog) == []
    scores = summary["validation_scores"][term]
    assert scores["rankme"] > 2 and scores["spread"] > 0.1 and scores["prediction_spread"] > 0.1
    assert trainer._validator is not None
    found = trainer._validator.at_start()[term]
    assert found.source == source and found.rows >= collapse.FEWEST


def test_a_run_without_learned_answers_reads_nothing_before_its_first_step(runs: Any) -> None:
    trainer = runs.trainer(steps=6)
    trainer._validator.batches = lambda: pytest.fail("no learned answers")
    assert trainer._validator.at_start() == {}


# ---- judgement


def measured(spread: float, predictions: float = 0.01, rows: int = 400) -> LearnedSpread:
    return LearnedSpread("teacher", rows, 48, 2.0, spread, predictions, "Do this")


@pytest.mark.parametrize(
    ("found", "at_start", "expected"),
    [
        (measured(0.1), 0.6, True),
        (measured(0.13), 0.6, False),
        (measured(0.1, predictions=0.2), 0.6, False),
        (measured(0.1, rows=15), 0.6, False),
        (measured(0.002), None, True),
        (measured(0.004), None, False),
        (measured(0.002), 0.001, True),
        (measured(math.nan), 0.6, False),
        (measured(0.1, predictions=math.nan), 0.6, False),
    ],
)
def test_a_collapse_is_one_of_answers_and_predictions(found: LearnedSpread, at_start: float | None, expected: bool) -> None:
    assert collapse.has_collapsed(found, at_start) is expected


def test_the_first_value_stands_in_for_an_unknown_start(caplog: pytest.LogCaptureFixture) -> None:
    progress = Counters(step=10)
    for value in (0.5, 0.3, 0.05, 0.01):
        collapse.watch(progress, {"decoder": measured(value)})
    (message,) = warnings(caplog)
    assert "is 10 % of its value at the start" in message and message.endswith("Do this")
    assert Counters.from_dict(progress.to_dict()) == progress


def test_the_terminal_shows_each_term() -> None:
    one = spreads({"decoder": measured(0.25, 0.5)})
    assert one == ", RankMe 2 of 48, spread 25.0 % (predictions 50.0 %)" and spreads({}) == ""
    assert ", b: RankMe 2 of 48" in spreads({"a": measured(0.25), "b": measured(0.5)})
