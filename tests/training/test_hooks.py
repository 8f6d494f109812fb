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

from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.errors import RunStopped, UserError
from omnimask.registry import Plugin, Registrar, Registry, discover, hooks
from omnimask.registry.hooks import RUN_TIME, hookimpl
from omnimask.registry.observers import EVENTS, Observer, RunInfo
from omnimask.testing import synthetic_recipe
from omnimask.training.checkpoints.contents import TrainingState
from omnimask.training.optim.optimizers import AdamW, parameter_groups

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


class Recorder(Observer):
    """An observer that writes down what it is called with."""

    def __init__(self, calls: list[tuple[str, dict[str, Any]]], run: RunInfo) -> None:
        self.calls, self.run = calls, run

    def before_step(self, *, step: int) -> None:
        self.calls.append(("before_step", {"before": step}))

    def after_step(self, *, result: Any, seconds: float, line: Any) -> None:
        self.calls.append(("after_step", {"step": self.run.progress.step, "line": line, "loss": result.loss, "seconds": seconds}))

    def validated(self, *, result: Any, baselines: Any, line: Any) -> None:
        self.calls.append(("validated", {"step": self.run.progress.step, "line": line, "baselines": baselines}))

    def checkpoint_saved(self, *, path: Path, is_best: bool) -> None:
        assert (path / "manifest.json").is_file()
        self.calls.append(("checkpoint_saved", {"step": self.run.progress.step, "name": path.name, "is_best": is_best}))

    def run_end(self, *, status: str) -> None:
        self.calls.append(("run_end", {"status": status, "summary": (self.run.directory / "summary.json").exists()}))


def recording(calls: list[tuple[str, dict[str, Any]]], name: str = "watching") -> Registrar:
    """A plugin with a recorder."""
    return plugin(name, omnimask_observers=lambda run: [Recorder(calls, run)])


def overriding(name: str = "watching", **methods: Callable[..., Any]) -> Registrar:
    """A plugin with an observer that has these methods; each is given the run beside the arguments of the event."""

    def observers(run: RunInfo) -> list[Observer]:
        def method(event: str, function: Callable[..., Any]) -> Any:
            parameters = inspect.signature(getattr(Observer, event)).replace(return_annotation=Any)

            def called(self: Observer, **arguments: Any) -> Any:
                return function(run, **arguments)

            called.__signature__ = parameters  # pyright: ignore[reportFunctionMemberAccess]
            return called

        return [type("Overriding", (Observer,), {event: method(event, function) for event, function in methods.items()})()]

    return plugin(name, omnimask_observers=observers)


# ---- the page


def test_every_hook_of_a_run_is_listed() -> None:
    assert {"omnimask_register", *RUN_TIME} == set(SPECIFIED)


def test_every_hook_and_method_is_documented_with_its_signature() -> None:
    text = PAGE.read_text(encoding="utf-8")
    signatures = dict(re.findall(r"^### (\w+)\n\n```python\ndef \w+\(([^)]*)\): \.\.\.\n```$", text, flags=re.MULTILINE))
    methods = {name: getattr(Observer, name) for name in EVENTS}
    assert set(signatures) == {*RUN_TIME, *EVENTS}
    for name, arguments in signatures.items():
        signature = inspect.signature({**SPECIFIED, **methods}[name])
        names = [parameter.name for parameter in signature.parameters.values()]
        assert arguments.replace("*, ", "").split(", ") == names, name
        assert f"def {name}({arguments}): ..." in text
    assert all(inspect.getdoc(function) for function in (*SPECIFIED.values(), *methods.values()))
    assert {name for name in vars(Observer) if not name.startswith("_")} == set(EVENTS)


def test_what_run_has_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    part = text[text.index("## The run") : text.index("## The hooks")]
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


def test_every_method_is_called_in_its_order(runs: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    begun: list[int] = []

    def omnimask_observers(run: RunInfo) -> list[Observer]:
        begun.append(run.progress.step)
        return [Recorder(calls, run)]

    watching = registry_of(plugin(omnimask_observers=omnimask_observers))
    trainer = runs.trainer(trainer_options=watching, log_every=5, validate_every=6, checkpoint_every=4, keep_checkpoints=2)
    trainer.fit()
    assert begun == [0]
    assert [what["before"] for name, what in calls if name == "before_step"] == list(range(12))
    steps = [what for name, what in calls if name == "after_step"]
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
    assert order == ["after_step", "validated", "checkpoint_saved"]


def test_a_resumed_run_begins_where_it_was(runs: Any) -> None:
    steps: list[int] = []
    begun: list[int] = []

    class Counting(Observer):
        def __init__(self, run: RunInfo) -> None:
            self.run = run
            begun.append(run.progress.step)

        def after_step(self, **_: Any) -> None:
            steps.append(self.run.progress.step)

    runs.trainer(steps=6).fit()
    again = runs.trainer(steps=9, trainer_options=registry_of(plugin(omnimask_observers=lambda run: [Counting(run)])))
    again.restore()
    again.fit()
    assert (begun, steps) == ([6], [7, 8, 9])


def test_observers_change_no_number(runs: Any, fingerprint: Callable[..., Any]) -> None:
    watched = registry_of(recording([]))
    plain, other = runs.trainer("plain", trainer_options=registry_of()), runs.trainer("other", trainer_options=watched)
    for trainer in (plain, other):
        trainer.fit()
    assert fingerprint(plain) == fingerprint(other)


@pytest.mark.parametrize("event", ["omnimask_observers", *EVENTS])
def test_a_method_that_fails_stops_the_run_and_is_named(runs: Any, event: str) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def fail(run: RunInfo, **_: Any) -> None:
        raise KeyError("no such thing")

    wrong = (
        plugin("wrong", omnimask_observers=lambda run: fail(run)) if event not in EVENTS else overriding("wrong", **{event: fail})
    )
    trainer = runs.trainer(trainer_options=registry_of(recording(calls, "good"), wrong), checkpoint_every=3)
    with pytest.raises(RunStopped) as info:
        trainer.fit()
    message = str(info.value)
    assert message.startswith(f"plugin 'wrong' of wrong-dist 1.0 failed in its hook {event}: KeyError: 'no such thing'")
    assert "in fail" in message and "OMNIMASK_PLUGINS" in message
    assert json.loads(trainer.directory.summary.read_text())["status"] == "stopped"
    assert event in (trainer.directory.logs / "rank0.log").read_text()
    assert [name for name, _ in calls].count("run_end") == 1
    runs.trainer().restore()  # raises where a checkpoint is not intact


def test_reasons_of_a_plugin_are_passed_on_and_all_observers_end(runs: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def early(run: RunInfo, **_: Any) -> None:
        if run.progress.step == 5:
            raise RunStopped("the loss is good enough")

    def fail(run: RunInfo, **_: Any) -> None:
        raise ValueError("late")

    trainer = runs.trainer(trainer_options=registry_of(overriding("first", after_step=early, run_end=fail), recording(calls)))
    with pytest.raises(RunStopped, match=r"^the loss is good enough$"):
        trainer.fit()
    assert calls[-1] == ("run_end", {"status": "stopped", "summary": False})
    assert "ValueError: late" in (trainer.directory.logs / "rank0.log").read_text()


class Misspelt(Observer):
    def after_steps(self) -> None: ...


class Narrow(Observer):
    def after_step(self, result: Any) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (Observer, "return a list of observers,"),
        ([object()], "is not a subclass of omnimask.Observer"),
        (7, "return a list"),
        ([Misspelt()], r"a method 'after_steps', which is never called \(did you mean 'after_step'\?\)"),
        ([Narrow()], "Narrow.after_step must take line, result, seconds"),
    ],
)
def test_what_is_no_observer(runs: Any, sent: Any, message: str) -> None:
    trainer = runs.trainer(trainer_options=registry_of(plugin(omnimask_observers=lambda run: sent)))
    with pytest.raises(RunStopped, match=message):
        trainer.fit()


def test_a_plugin_adds_a_metric(runs: Any) -> None:
    doubled = overriding(metrics=lambda run, result: {"lab.doubled": 2 * result.loss})
    trainer = runs.trainer(trainer_options=registry_of(doubled), log_every=5)
    trainer.fit()
    lines = [line for line in map(json.loads, trainer.directory.metrics.read_text().splitlines()) if "loss" in line]
    assert [line["step"] for line in lines] == [1, 5, 10, 12]
    assert all(line["lab.doubled"] == 2 * line["loss"] for line in lines)


@pytest.mark.parametrize("name", ["loss", "lr", "lab.doubled", "validation_mine"])
def test_a_metric_that_exists_is_refused(runs: Any, name: str) -> None:
    first, second = (
        overriding(metrics=lambda run, result: {"lab.doubled": 0.0}),
        overriding("second", metrics=lambda run, result: {name: 1.0}),
    )
    with pytest.raises(RunStopped, match=rf"plugin 'second' .* metric '{name}' already exists or is reserved"):
        runs.trainer(trainer_options=registry_of(first, second)).fit()


def test_a_bug_in_the_loop_ends_the_observers_too(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object) -> None:
        raise ZeroDivisionError

    calls: list[tuple[str, dict[str, Any]]] = []
    trainer = runs.trainer(trainer_options=registry_of(recording(calls)))
    monkeypatch.setattr(TrainingState, "save", save)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert calls[-1][1]["status"] == "failed"


def test_the_log_names_plugins_with_hooks(runs: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "omnimask"):
        runs.trainer(trainer_options=registry_of(recording([]))).fit()
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
        ("    groups[0]['params'].pop()\n", r"\w+.weight is in no parameter group \(1 in all\)"),
        ("    groups.append(groups[0])\n", r"several parameter groups \(2"),
        ("    next(model.parameters()).requires_grad_(False)\n", "not trainable parameters of the model"),
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
