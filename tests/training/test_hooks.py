"""Hooks of plugins while a run is prepared and trained."""

from __future__ import annotations

import inspect
import json
import logging
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask import hooks
from omnimask.builder import build
from omnimask.cli import main
from omnimask.errors import RunStopped, UserError
from omnimask.hooks import RUN_TIME, hookimpl
from omnimask.registry import Plugin, Registrar, Registry, discover
from omnimask.testing import synthetic_recipe
from omnimask.training.observers import RunInfo
from omnimask.training.optimizers import AdamW, parameter_groups
from omnimask.training.state import TrainingState

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hooks.md"
SPECIFIED = {name: value for name, value in vars(hooks).items() if name.startswith("omnimask_")}


def plugin(name: str = "watching", **functions: Callable[..., Any]) -> Registrar:
    """A plugin whose module has these functions as hooks."""
    registrar = Registrar(Plugin(name, f"{name}-dist", "1.0"))
    registrar.module = types.SimpleNamespace(**{hook: hookimpl(function) for hook, function in functions.items()})
    registrar.hooks = tuple(functions)
    return registrar


def registry_of(*registrars: Registrar) -> dict[str, Any]:
    return {"registry": Registry(registrars)}


class Recorder:
    """An observer that has every hook of a run, and writes down what it is called with."""

    def __init__(self, calls: list[tuple[str, dict[str, Any]]]) -> None:
        self.calls = calls

    @hookimpl
    def omnimask_step_end(self, run: Any, result: Any, seconds: float, line: Any) -> None:
        self.calls.append(("step_end", {"step": run.progress.step, "line": line, "loss": result.loss, "seconds": seconds}))

    @hookimpl
    def omnimask_validated(self, run: Any, result: Any, baselines: Any, line: Any) -> None:
        self.calls.append(("validated", {"step": run.progress.step, "line": line, "loss": result.loss, "baselines": baselines}))

    @hookimpl
    def omnimask_checkpoint_saved(self, run: Any, path: Path, is_best: bool) -> None:
        assert (path / "manifest.json").is_file()
        self.calls.append(("checkpoint_saved", {"step": run.progress.step, "name": path.name, "is_best": is_best}))

    @hookimpl
    def omnimask_run_end(self, run: Any, status: str) -> None:
        self.calls.append(("run_end", {"status": status, "summary": run.directory.summary.exists()}))


# ---- the page


def test_every_hook_of_a_run_is_listed() -> None:
    assert {"omnimask_register", *RUN_TIME} == set(SPECIFIED)


def test_every_hook_is_documented_with_its_signature() -> None:
    text = PAGE.read_text(encoding="utf-8")
    signatures = dict(re.findall(r"^### (\w+)\n\n```python\ndef \w+\(([^)]*)\): \.\.\.\n```$", text, flags=re.MULTILINE))
    assert set(signatures) == set(RUN_TIME)
    for name, arguments in signatures.items():
        assert arguments == ", ".join(inspect.signature(SPECIFIED[name]).parameters), name
        assert f"def {name}({arguments}): ..." in text
    assert all(inspect.getdoc(function) for function in SPECIFIED.values())


def test_what_run_has_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    part = text[text.index("## What a hook is given") : text.index("## The hooks")]
    assert all(f"`{name}`" in part for name in RunInfo.__dataclass_fields__)


def test_the_plugin_of_the_page_works(
    distribution: Callable[..., Path], runs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (source,) = re.findall(r'^```python title="lab_hooks.py"\n(.*?)^```$', PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    (points,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    points = points.replace("[project.entry-points.omnimask]", "[omnimask]").replace('"', "")
    distribution("lab-dist", {"lab_hooks": source}, points)
    assert not discover().failures
    monkeypatch.setenv("LAB_BACKUP", str(tmp_path / "backup"))
    summary = runs.trainer().fit()
    copied = {path.name for path in (tmp_path / "backup" / "run").iterdir()}
    assert summary["best_checkpoint"] in copied
    monkeypatch.setenv("LAB_LAYER_DECAY", "0.5")
    model = build(synthetic_recipe()).model
    scales = {
        name: group["lr_scale"]
        for group in parameter_groups(model, 0.1)
        for name, parameter in model.named_parameters()
        if any(parameter is other for other in group["params"])
    }
    layers = {number: {scale for name, scale in scales.items() if f"blocks.{number}." in name} for number in (0, 1)}
    assert layers == {0: {0.5}, 1: {1.0}}
    assert {scale for name, scale in scales.items() if "blocks." not in name} == {1.0}


# ---- what is called when


def test_every_hook_of_a_run_is_called_in_its_order(runs: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    begun: list[int] = []

    def omnimask_run_begin(run: RunInfo) -> list[object]:
        begun.append(run.progress.step)
        return [Recorder(calls)]

    watching = registry_of(plugin(omnimask_run_begin=omnimask_run_begin))
    trainer = runs.trainer(trainer_options=watching, log_every=5, validate_every=6, checkpoint_every=4, keep_checkpoints=2)
    trainer.fit()
    assert begun == [0]
    steps = [what for name, what in calls if name == "step_end"]
    assert [what["step"] for what in steps] == list(range(1, 13))
    lines = [json.loads(line) for line in trainer.directory.metrics.read_text().splitlines()]
    assert [what["line"] for what in steps if what["line"] is not None] == [line for line in lines if "loss" in line]
    validations = [what for name, what in calls if name == "validated"]
    assert [what["line"] for what in validations] == [line for line in lines if "validation_loss" in line]
    saved = [(what["step"], what["name"]) for name, what in calls if name == "checkpoint_saved"]
    assert saved == [(step, f"step-{step:08d}") for step in (4, 6, 8, 12)]
    assert next(what["is_best"] for name, what in calls if name == "checkpoint_saved" and what["step"] == 6)
    assert calls[-1] == ("run_end", {"status": "finished", "summary": True})
    order = [name for name, what in calls if what.get("step") == 12]
    assert order == ["step_end", "validated", "checkpoint_saved"]


def test_a_resumed_run_begins_where_it_was_and_a_module_may_have_the_hooks_itself(runs: Any) -> None:
    steps: list[int] = []
    begun: list[int] = []
    watching = plugin(
        omnimask_step_end=lambda run: steps.append(run.progress.step),
        omnimask_run_begin=lambda run: begun.append(run.progress.step),
    )
    runs.trainer(steps=6).fit()
    again = runs.trainer(steps=9, trainer_options=registry_of(watching))
    again.restore()
    again.fit()
    assert (begun, steps) == ([6], [7, 8, 9])


def test_hooks_change_no_number(runs: Any, fingerprint: Callable[..., Any]) -> None:
    watched = plugin(omnimask_run_begin=lambda run: [Recorder([])])
    plain, other = runs.trainer("plain", trainer_options=registry_of()), runs.trainer("other", trainer_options=registry_of(watched))
    for trainer in (plain, other):
        trainer.fit()
    assert fingerprint(plain) == fingerprint(other)


@pytest.mark.parametrize("hook", [name for name in RUN_TIME if name != "omnimask_parameter_groups"])
def test_a_hook_that_fails_stops_the_run_and_is_named(runs: Any, hook: str) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    good = plugin("good", omnimask_run_begin=lambda run: [Recorder(calls)])

    def fail(run: RunInfo) -> None:
        raise KeyError("no such thing")

    trainer = runs.trainer(trainer_options=registry_of(good, plugin("wrong", **{hook: fail})), checkpoint_every=3)
    with pytest.raises(RunStopped) as info:
        trainer.fit()
    message = str(info.value)
    assert message.startswith(f"plugin 'wrong' of wrong-dist 1.0 failed in its hook {hook}: KeyError: 'no such thing'")
    assert "in fail" in message and "OMNIMASK_PLUGINS" in message
    assert json.loads(trainer.directory.summary.read_text())["status"] == "stopped"
    assert hook in (trainer.directory.logs / "rank0.log").read_text()
    assert [name for name, _ in calls].count("run_end") == 1
    runs.trainer().restore()  # raises where a checkpoint is not intact


def test_reasons_of_a_plugin_are_passed_on_and_all_observers_end(runs: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def early(run: RunInfo) -> None:
        if run.progress.step == 5:
            raise RunStopped("the loss is good enough")

    def fail(run: RunInfo) -> None:
        raise ValueError("late")

    first = plugin("first", omnimask_step_end=early, omnimask_run_end=fail)
    trainer = runs.trainer(trainer_options=registry_of(first, plugin(omnimask_run_begin=lambda run: [Recorder(calls)])))
    with pytest.raises(RunStopped, match=r"^the loss is good enough$"):
        trainer.fit()
    assert calls[-1] == ("run_end", {"status": "stopped", "summary": False})
    assert "ValueError: late" in (trainer.directory.logs / "rank0.log").read_text()


@pytest.mark.parametrize(
    ("sent", "message"),
    [(Recorder, "returns a list of observers"), ([object()], "has none of the methods omnimask_step_end"), (7, "returns a list")],
)
def test_what_is_no_observer(runs: Any, sent: Any, message: str) -> None:
    trainer = runs.trainer(trainer_options=registry_of(plugin(omnimask_run_begin=lambda run: sent)))
    with pytest.raises(RunStopped, match=message):
        trainer.fit()


def test_a_misspelt_method_of_an_observer_is_found(runs: Any) -> None:
    class Misspelt(Recorder):
        @hookimpl
        def omnimask_steps_end(self) -> None: ...

    trainer = runs.trainer(trainer_options=registry_of(plugin(omnimask_run_begin=lambda run: [Misspelt([])])))
    with pytest.raises(RunStopped, match="unknown hook 'omnimask_steps_end'"):
        trainer.fit()


def test_a_bug_in_the_loop_ends_the_observers_too(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object) -> None:
        raise ZeroDivisionError

    calls: list[tuple[str, dict[str, Any]]] = []
    trainer = runs.trainer(trainer_options=registry_of(plugin(omnimask_run_begin=lambda run: [Recorder(calls)])))
    monkeypatch.setattr(TrainingState, "save", save)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert calls[-1][1]["status"] == "failed"


def test_the_log_names_plugins_with_hooks(runs: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "omnimask"):
        runs.trainer(trainer_options=registry_of(plugin(omnimask_step_end=lambda run: None))).fit()
        runs.trainer("other").fit()
    assert "hooks: watching of watching-dist 1.0" in caplog.messages
    assert any(message.startswith("hooks: core of omnimask ") for message in caplog.messages)


# ---- parameter groups

HEAD = "import omnimask\n\n@omnimask.hookimpl\ndef omnimask_parameter_groups(model, groups):\n"


def test_groups_have_rates_of_their_own(distribution: Callable[..., Path], runs: Any, tiny: Any) -> None:
    """Also in the recorded rate, which is that of the schedule, and after a resume."""
    source = HEAD + "    groups[0]['lr_scale'] = 0.0\n"
    distribution("slow-dist", {"slow": source}, "[omnimask]\nslow = slow\n")
    model = tiny()
    trainer = runs.trainer(model=model, trainer_options=registry_of(), ema=None)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    before = [p.detach().clone() for p in model.parameters()]
    assert [group["weight_decay"] for group in trainer.state.optimizer.param_groups] == [0.1, 0.0]
    trainer.fit()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old) is any(parameter is other for other in decayed)
    lines = [json.loads(line) for line in trainer.directory.metrics.read_text().splitlines()]
    assert max(line["lr"] for line in lines if "lr" in line) == 1e-2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("    groups[0]['params'].pop()\n", r"no group holds \w+.weight \(1 in all\)"),
        ("    groups.append(groups[0])\n", "several groups hold"),
        ("    next(model.parameters()).requires_grad_(False)\n", "no trainable parameters of the model"),
        ("    raise KeyError('x')\n", "KeyError: 'x'"),
    ],
)
def test_groups_that_cannot_be_are_refused(distribution: Callable[..., Path], tiny: Any, source: str, message: str) -> None:
    distribution("bad-dist", {"bad_groups": HEAD + source}, "[omnimask]\nbad = bad_groups\n")
    with pytest.raises(UserError, match=message) as info:
        AdamW(None, lr=1.0)(tiny())  # pyright: ignore[reportArgumentType]
    assert str(info.value).startswith("plugin 'bad' of bad-dist 1.0 failed in its hook omnimask_parameter_groups")


def test_a_frozen_parameter_is_left_out(distribution: Callable[..., Path], tiny: Any) -> None:
    source = HEAD + "    for group in groups:\n        for p in group['params']: p.requires_grad_(p.ndim < 2)\n"
    source += "        group['params'] = [p for p in group['params'] if p.requires_grad]\n"
    distribution("freeze-dist", {"freeze_groups": source}, "[omnimask]\nfreeze = freeze_groups\n")
    groups = parameter_groups(tiny(), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.0]


def test_a_plugin_with_hooks_is_recorded(distribution: Callable[..., Path], tmp_path: Path) -> None:
    distribution("noting-dist", {"noting": HEAD + "    pass\n"}, "[omnimask]\nnoting = noting\n", version="4.2")
    assert main(["pretrain", "image/digits", "--smoke", "--run", str(tmp_path / "run")]) == 0
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert environment["plugins"]["noting-dist"] == "4.2"
