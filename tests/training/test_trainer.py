"""What the loop refuses, and the switches."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from omnimask.errors import UserError


class Recomputed(nn.Module):
    is_on = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))

    def set_activation_checkpointing(self, is_on: bool) -> None:
        self.is_on = is_on


def test_one_of_several_processes_must_join_the_others(runs, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one of 2 processes"):
        runs.trainer()


def test_a_model_without_parameters_and_a_run_without_optimizer_are_refused(runs) -> None:
    with pytest.raises(UserError, match="no trainable"):
        runs.trainer(model=nn.Identity())
    with pytest.raises(UserError, match=r"train\.optimizer"):
        runs.trainer(optimizer=None)


def test_making_a_trainer_writes_nothing(runs) -> None:
    runs.trainer()
    assert not list(runs.root.iterdir())


def test_activation_checkpointing_is_switched_on(runs) -> None:
    model = Recomputed()
    runs.trainer(model=nn.Sequential(model), activation_checkpointing=True)
    assert model.is_on


def test_a_switch_that_no_module_has_is_an_error(runs) -> None:
    with pytest.raises(UserError, match="activation_checkpointing"):
        runs.trainer(activation_checkpointing=True)
    with pytest.raises(UserError, match=r"train\.compile"):
        runs.trainer(model=nn.Linear(2, 2), compile=True)


def test_compile_reaches_the_modules_that_declare_it(runs, tiny, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: calls.append((type(self), options)))
    runs.trainer(compile=True)
    assert calls == [(tiny, {"dynamic": True})]


def test_deterministic_holds_during_the_run_only(runs, stream) -> None:
    seen = []
    source = stream(12, before=lambda step: seen.append(torch.are_deterministic_algorithms_enabled()))
    runs.trainer(stream=source, deterministic=True).fit()
    assert seen == [True] * 12 and not torch.are_deterministic_algorithms_enabled()


def test_training_without_validation(runs) -> None:
    trainer = runs.trainer()
    trainer._validator = None
    summary = trainer.fit()
    assert summary["validation_loss"] is None and summary["best_checkpoint"] is None


def test_a_step_without_readable_samples_is_skipped(runs, stream) -> None:
    class Holey(stream):
        def __call__(self, cursor, first):
            for loaded in super().__call__(cursor, first):
                if loaded.step == 3:
                    loaded.batches.clear()
                yield loaded

    summary = runs.trainer(stream=Holey(12)).fit()
    assert summary["status"] == "finished" and summary["skipped_steps"] == 1 and summary["samples"] == 88


def test_the_run_learns(runs, stream) -> None:
    trainer = runs.trainer(steps=150, stream=stream(150), log_every=150, validate_every=150, checkpoint_every=150)
    from omnimask.training.monitoring.jsonl_writer import read_metrics

    trainer.fit()
    first, last = [line["loss"] for line in read_metrics(trainer.directory.metrics) if "loss" in line]
    assert last < 0.7 * first


def test_versions_that_changed_are_named_on_resume(runs, caplog) -> None:
    runs.trainer(trainer_options={"plugins": {"omnimask-birds": "1"}}).fit()
    caplog.set_level(logging.WARNING)
    runs.trainer(trainer_options={"plugins": {"omnimask-birds": "2"}}).restore()
    assert "omnimask-birds 1 -> 2" in caplog.text
