"""A run ends when its held-out loss no longer falls, and a resumed one ends at the same step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from omnimask.errors import UserError
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.counters import Counters
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer
from omnimask.training.validation import Validation

LOSSES = (5.0, 4.0, 4.5, 4.0, float("nan"), 3.0)
"""Of the validations after steps 2, 4, ...; the fifth is the third in a row without a gain."""


class Listed:
    """A validator with the losses above."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self, after: str) -> Validation:
        return Validation(LOSSES[self.trainer.progress.step // 2 - 1], {})

    def at_start(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def patient(runs: Any) -> Callable[..., Any]:
    """Makes a run that validates after every second step, with the losses above."""

    def make(name: str, **options: Any) -> Any:
        trainer = runs.trainer(name, **{"validate_every": 2, "checkpoint_every": 3, **options})
        trainer._validator = Listed(trainer)
        return trainer

    return make


def test_the_count_of_validations_without_a_gain() -> None:
    progress = Counters()
    found = []
    for loss in LOSSES:
        is_best = progress.monitor(loss)
        found.append((is_best, progress.validations_without_gain, progress.ends_early(2)))
    assert [(bool(best), count, over) for best, count, over in found] == [
        (True, 0, False),
        (True, 0, False),
        (False, 1, False),
        (False, 2, True),
        (False, 3, True),
        (True, 0, False),
    ]
    assert not Counters(validations_without_gain=99).ends_early(None)


def test_a_run_ends_when_its_patience_is_used_up(patient: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    trainer = patient("a", patience=3)
    summary = trainer.fit()
    assert (summary["status"], summary["step"], summary["ended_early"], summary["validations_without_gain"]) == (
        "finished", 10, True, 3,
    )  # fmt: skip
    assert summary["best_step"] == 4 and summary["best_checkpoint"] == "step-00000004"
    assert summary["last_checkpoint"] == "step-00000010"
    assert "early stopping at step 10: 3 validations in a row without a lower loss than at step 4" in caplog.text


@pytest.mark.parametrize("patience", [None, 4])
def test_without_patience_or_with_more_of_it_all_steps_are_taken(patient: Any, patience: int | None) -> None:
    summary = patient("a", patience=patience).fit()
    assert (summary["step"], summary["ended_early"], summary["best_step"]) == (12, False, 12)


@pytest.mark.parametrize("step", [4, 5, 6, 7, 8, 9])
def test_an_interrupted_run_ends_at_the_same_step(patient: Any, stream: Any, fingerprint: Any, lines: Any, step: int) -> None:
    class Killed(BaseException):
        pass

    def before(now: int) -> None:
        if now == step:
            raise Killed

    whole, first = patient("whole", patience=3), patient("parts", patience=3, stream=stream(12, before=before))
    summary = whole.fit()
    with pytest.raises(Killed):
        first.fit()
    second = patient("parts", patience=3)
    assert second.restore() is not None
    again = second.fit()
    assert fingerprint(second) == fingerprint(whole)
    assert lines(second.directory.path) == lines(whole.directory.path)
    names = ("status", "step", "ended_early", "validations_without_gain", "best_step", "last_checkpoint")
    assert {name: again[name] for name in names} == {name: summary[name] for name in names}


def test_a_run_that_ended_early_takes_no_step_when_it_is_resumed(patient: Any) -> None:
    patient("a", patience=3).fit()
    again = patient("a", patience=3)
    again.restore()
    assert again.is_over and again.fit()["step"] == 10
    more = patient("a", patience=4)
    more.restore()
    summary = more.fit()
    assert (summary["step"], summary["ended_early"], summary["best_step"]) == (12, False, 12)


def test_patience_needs_validations(runs: Any, tiny: Any, stream: Any) -> None:
    config, place = runs.config(patience=1), RunDirectory(runs.root / "a")
    with pytest.raises(UserError, match=r"train.patience needs held-out samples"):
        Trainer(tiny(), TrainingData(stream(12)), config, RunContext(place, torch.device("cpu")))
