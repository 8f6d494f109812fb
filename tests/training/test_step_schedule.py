"""A rate that falls at milestones."""

from __future__ import annotations

import pytest

from omnimask.interfaces import Context
from omnimask.training.optim.step_schedule import Step


def test_factors_after_the_warm_up() -> None:
    schedule = Step(Context(), milestones=(4, 6), factor=0.1, warmup=2)
    assert [schedule(step, 8) for step in range(8)] == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("milestones", [(4, 4), (6, 4), (1, 4)])
def test_milestones_rise_behind_the_warm_up(milestones: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be increasing, and after the warmup of 2 steps"):
        Step(Context(), milestones=milestones, warmup=2)
