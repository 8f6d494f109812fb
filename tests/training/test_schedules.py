from __future__ import annotations

import math

import pytest

from omnimask.training.optim.schedules import Constant, Cosine, Linear, WarmupStableDecay


def test_cosine_matches_its_closed_form(context) -> None:
    schedule = Cosine(context, warmup=4, minimum=0.1)
    factors = [schedule(step, 20) for step in range(20)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * (step - 4) / 16)) / 2 for step in range(4, 20)]
    assert factors[4:] == pytest.approx(expected, abs=1e-15)


def test_linear_matches_its_closed_form(context) -> None:
    schedule = Linear(context, warmup=2, minimum=0.5)
    assert [schedule(step, 6) for step in range(6)] == pytest.approx([0.5, 1, 1, 0.875, 0.75, 0.625])


def test_constant_stays_at_the_peak(context) -> None:
    assert [Constant(context)(step, 3) for step in range(3)] == [1, 1, 1]
    assert [Constant(context, warmup=2)(step, 3) for step in range(3)] == [0.5, 1, 1]


@pytest.mark.parametrize(("shape", "middle"), [("linear", 0.5), ("one_minus_sqrt", 1 - math.sqrt(0.5))])
def test_warmup_stable_decay_has_three_parts(context, shape, middle) -> None:
    schedule = WarmupStableDecay(context, warmup=2, decay=4, shape=shape)
    factors = [schedule(step, 10) for step in range(10)]
    assert factors[:7] == [0.5, 1, 1, 1, 1, 1, 1]
    assert factors[8] == pytest.approx(middle)


@pytest.mark.parametrize("kind", [Cosine, Linear, Constant, WarmupStableDecay])
def test_a_run_shorter_than_the_warmup_is_refused(context, kind) -> None:
    schedule = kind(context, warmup=9, **({"decay": 3} if kind is WarmupStableDecay else {}))
    with pytest.raises(ValueError, match="9"):
        schedule(0, 5)


@pytest.mark.parametrize("kind", [Cosine, Linear, Constant, WarmupStableDecay])
def test_a_run_that_the_warmup_fills_works(context, kind) -> None:
    schedule = kind(context, warmup=5, **({"decay": 0} if kind is WarmupStableDecay else {}))
    assert [schedule(step, 5) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("kind", [Cosine, Linear, Constant, WarmupStableDecay])
def test_no_step_is_taken_with_a_rate_of_zero(context, kind) -> None:
    schedule = kind(context, warmup=3, **({"decay": 5} if kind is WarmupStableDecay else {}))
    assert all(0 < schedule(step, 30) <= 1 for step in range(30))


def test_the_trainer_refuses_a_warmup_longer_than_the_run(runs) -> None:
    from omnimask.errors import UserError

    with pytest.raises(UserError, match=r"train\.schedule.*warmup 13.*12 steps"):
        runs.trainer(schedule=lambda context: Cosine(context, warmup=13))


@pytest.mark.parametrize(("share", "steps", "expected"), [("5%", 2000, 100), ("6.67%", 1500, 100), ("0%", 60, 0), ("100%", 7, 7)])
def test_a_length_may_be_a_share_of_the_run(share: str, steps: int, expected: int) -> None:
    from omnimask.interfaces import Context
    from omnimask.training.optim.schedules import Constant, Cosine, Linear, WarmupStableDecay, in_steps

    assert in_steps(share, steps) == expected
    for make in (Cosine, Linear, Constant):
        shared, fixed = make(Context(), warmup=share), make(Context(), warmup=expected)
        assert [shared(step, steps) for step in range(steps)] == [fixed(step, steps) for step in range(steps)]
    shared = WarmupStableDecay(Context(), warmup="10%", decay=share) if expected < 0.9 * steps else None
    if shared is not None:
        fixed = WarmupStableDecay(Context(), warmup=in_steps("10%", steps), decay=expected)
        assert [shared(step, steps) for step in range(steps)] == [fixed(step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("name", "changes"), [("image", []), ("image/digits", []), ("image/small", ["data.path=x.zip"]), ("text", [])]
)
def test_a_short_run_of_a_quick_start_needs_one_change(name: str, changes: list[str]) -> None:
    from omnimask.recipe import load_recipe
    from omnimask.training.setup import schedule_of

    schedule_of(load_recipe(name, ["train.steps=60", *changes]).train)


@pytest.mark.parametrize("share", ["101%", "5 %", "%", "-1%", "five"])
def test_what_is_no_share_is_refused(share: str) -> None:
    from omnimask.errors import UserError
    from omnimask.recipe import load_recipe

    with pytest.raises(UserError, match="warmup"):
        load_recipe("image", [f"train.schedule.warmup='{share}'"])
