"""An attempt ends before its time is over, after a checkpoint, and the run goes on as if nothing had been."""

from __future__ import annotations

import json

import pytest

from omnimask.errors import Interrupted
from omnimask.training.deadline import Deadline


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def take(deadline: Deadline, clock: Clock, part: str, seconds: float) -> None:
    with deadline.timed(part):  # pyright: ignore[reportArgumentType]
        clock.now += seconds


def test_there_may_be_no_end() -> None:
    clock = Clock()
    deadline = Deadline(clock=clock)
    clock.now = 1e12
    assert not deadline.is_near(validates=True)


def test_it_is_near_when_a_step_and_a_checkpoint_might_not_fit() -> None:
    clock = Clock()
    deadline = Deadline(100, clock)
    take(deadline, clock, "step", 10)
    take(deadline, clock, "checkpoint", 20)
    take(deadline, clock, "validation", 15)
    assert not deadline.is_near(validates=False)
    clock.now = 169.9
    assert not deadline.is_near(validates=False) and deadline.is_near(validates=True)
    clock.now = 170
    assert deadline.is_near(validates=False)


def test_the_first_step_does_not_count_for_ever() -> None:
    clock = Clock()
    deadline = Deadline(1000, clock)
    take(deadline, clock, "step", 600)
    assert deadline.is_near(validates=False), "as long as it may come again"
    for _ in range(20):
        take(deadline, clock, "step", 1)
    assert not deadline.is_near(validates=False)


def test_a_run_ends_at_a_step_border_and_goes_on(runs, stream, fingerprint, lines) -> None:
    clock = Clock()

    def tick(step: int) -> None:
        clock.now += 10

    whole = runs.trainer("whole")
    whole.fit()
    parts = runs.trainer("parts", stream=stream(12, before=tick))
    with pytest.raises(Interrupted, match="the time limit of this attempt was reached") as caught:
        parts.fit(Deadline(58, clock))
    assert caught.value.signum is None
    assert parts.progress.step == 5, "a sixth step would have ended at 60 seconds"
    assert parts.checkpoints.paths()[-1].name == "step-00000005"
    assert json.loads(parts.directory.summary.read_text())["status"] == "interrupted"
    again = runs.trainer("parts")
    again.restore()
    again.fit()
    assert fingerprint(again) == fingerprint(whole)
    assert lines(again.directory.path) == lines(whole.directory.path)


def test_a_summary_is_that_of_the_last_attempt(runs, stream) -> None:
    """One that a killed attempt found would say how the attempt before it ended."""

    class Killed(BaseException): ...

    def kill(step: int) -> None:
        if step > 6:  # one more step was taken; until then the folder is as the first attempt left it
            raise Killed

    first = runs.trainer(steps=6)
    first.fit()
    assert first.directory.summary.exists()
    second = runs.trainer(stream=stream(12, before=kill))
    second.restore()
    with pytest.raises(Killed):
        second.fit()
    assert not second.directory.summary.exists()
