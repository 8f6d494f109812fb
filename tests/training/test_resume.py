"""A run that was stopped anywhere and resumed is the run that was not."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
import torch

from omnimask.errors import Interrupted, RunStopped, UserError
from omnimask.training.checkpoints.contents import load_weights
from omnimask.training.checkpoints.directory import Checkpoints


class Killed(BaseException):
    """Ends a run like ``kill -9``: nothing of the loop's own is executed after it but ``finally``."""


def kill_at(step: int):
    def before(now: int) -> None:
        if now == step:
            raise Killed

    return before


@pytest.mark.parametrize("step", range(12))
def test_killed_at_any_step_and_resumed(runs, stream, fingerprint, lines, step) -> None:
    whole = runs.trainer("whole")
    summary = whole.fit()
    first = runs.trainer("parts", stream=stream(12, before=kill_at(step)))
    with pytest.raises(Killed):
        first.fit()
    second = runs.trainer("parts")
    restored = second.restore()
    assert (restored is None) == (step < 3)
    again = second.fit()
    assert fingerprint(second) == fingerprint(whole)
    assert lines(second.directory.path) == lines(whole.directory.path)
    assert again["attempt"] == 2 and again["best_validation_loss"] == summary["best_validation_loss"]
    assert again["best_checkpoint"] == summary["best_checkpoint"] and again["tokens"] == summary["tokens"]


def test_stopped_and_resumed_after_every_single_step(runs, stream, fingerprint, lines) -> None:
    whole = runs.trainer("whole", checkpoint_every=1)
    whole.fit()
    for step in range(1, 13):
        part = runs.trainer("parts", checkpoint_every=1, stream=stream(12, before=kill_at(step)))
        if step > 1:
            part.restore()
        if step < 12:
            with pytest.raises(Killed):
                part.fit()
    part.fit()
    assert part.progress.attempt == 12
    assert fingerprint(part) == fingerprint(whole)
    assert lines(part.directory.path) == lines(whole.directory.path)


def test_validating_does_not_change_the_weights(runs, fingerprint) -> None:
    often, never = runs.trainer("often", validate_every=1), runs.trainer("never", validate_every=12)
    often.fit(), never.fit()
    assert fingerprint(often) == fingerprint(never)


def test_validation_uses_averages_and_global_denominators(runs, tiny, batch_of) -> None:
    trainer = runs.trainer()
    trainer.fit()
    model = tiny()
    load_weights(model, trainer.checkpoints.paths()[-1])
    model.eval()
    batch = batch_of(range(100, 108))
    with torch.no_grad():
        expected = model(batch, model.counts(batch)).loss.item()
    assert trainer.progress.validation_loss == pytest.approx(expected, abs=1e-6)
    raw = load_weights(tiny(), trainer.checkpoints.paths()[-1], averaged=False)
    assert torch.equal(raw.head.weight, trainer.state.model.head.weight)
    assert raw.first.weight is raw.second.weight


def test_a_finished_run_resumes_to_nothing_and_may_be_prolonged(runs, lines) -> None:
    runs.trainer().fit()
    again = runs.trainer()
    again.restore()
    assert again.fit()["step"] == 12
    longer = runs.trainer(steps=15)
    longer.restore()
    assert longer.fit()["step"] == 15
    assert [line["step"] for line in lines(longer.directory.path) if "loss" in line] == list(range(1, 16))


def test_a_run_is_not_overwritten(runs) -> None:
    runs.trainer().fit()
    with pytest.raises(UserError, match="omnimask resume"):
        runs.trainer().fit()


def test_another_model_is_refused(runs) -> None:
    runs.trainer().fit()
    with pytest.raises(UserError, match="another model"):
        runs.trainer(model=torch.nn.Linear(3, 3)).restore()
    with pytest.raises(UserError, match=r"train\.ema"):
        runs.trainer(ema=None).restore()


def test_an_older_checkpoint_can_be_chosen(runs, fingerprint, lines) -> None:
    whole = runs.trainer()
    whole.fit()
    older = whole.checkpoints.paths()[0]
    again = runs.trainer()
    again.restore(older)
    again.fit()
    assert fingerprint(again) == fingerprint(whole)
    steps = [line["step"] for line in lines(again.directory.path) if "loss" in line]
    assert steps == list(range(1, 13))
    assert list(again.directory.checkpoints.glob("*.before-attempt-2"))


# ---- signals ----


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_the_run_after_a_checkpoint(runs, stream, fingerprint, signum) -> None:
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}

    def send(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signum)

    source = stream(12, before=send)
    trainer = runs.trainer(stream=source)
    with pytest.raises(Interrupted) as caught:
        trainer.fit()
    assert caught.value.signum == signum
    assert source.is_closed
    assert trainer.checkpoints.paths()[-1].name == "step-00000005"
    assert {s: signal.getsignal(s) for s in handlers} == handlers
    assert json.loads(trainer.directory.summary.read_text())["status"] == "interrupted"
    resumed = runs.trainer()
    resumed.restore()
    resumed.fit()
    whole = runs.trainer("whole")
    whole.fit()
    assert fingerprint(resumed) == fingerprint(whole)


def test_a_second_interrupt_ends_it_at_once(runs, stream) -> None:
    def send(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    trainer = runs.trainer(stream=stream(12, before=send))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert [path.name for path in trainer.checkpoints.paths()] == ["step-00000003", "step-00000004"]  # 4: the best so far


def test_training_in_another_thread_leaves_signals_alone(runs) -> None:
    trainer, found = runs.trainer(), []
    thread = threading.Thread(target=lambda: found.append(trainer.fit()["status"]))
    thread.start()
    thread.join()
    assert found == ["finished"]


# ---- data ----


def test_too_many_bad_samples_stop_the_run(runs, stream, caplog) -> None:
    from omnimask.data.config import BadSamples
    from omnimask.data.loader import BadSample

    bad = {step: (BadSample(f"cat-{step}.png", 0, step, "truncated file"),) for step in range(12)}
    options = {"max_bad": BadSamples(fraction=0.1, at_least=2), "num_samples": 50}
    trainer = runs.trainer(stream=stream(12, bad=bad), trainer_options=options)
    with pytest.raises(RunStopped, match=r"6 samples are unreadable, but only 5 are tolerated(.|\n)*cat-5.png: truncated file"):
        trainer.fit()
    assert trainer.progress.step == 5
    assert "cat-0.png: truncated file" in caplog.text


def test_bad_samples_are_counted_by_key_across_a_resume(runs, stream) -> None:
    from omnimask.data.loader import BadSample

    bad = {step: (BadSample("cat.png", step, 0, "truncated file"),) for step in range(12)}
    with pytest.raises(Killed):
        runs.trainer(stream=stream(12, bad=bad, before=kill_at(7))).fit()
    trainer = runs.trainer(stream=stream(12, bad=bad))
    trainer.restore()
    assert trainer.fit()["bad_samples"] == {"cat.png": 12}


def test_damage_is_passed_over_and_named(runs, fingerprint, caplog) -> None:
    whole = runs.trainer("whole")
    whole.fit()
    first = runs.trainer()
    first.fit()
    newest = first.checkpoints.paths()[-1]
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    again = runs.trainer()
    restored = again.restore()
    assert restored is not None and restored != newest
    assert str(newest) in caplog.text and "was changed" in caplog.text
    again.fit()
    assert fingerprint(again) == fingerprint(whole)
    assert Checkpoints(first.directory.checkpoints).newest() == newest  # made anew
