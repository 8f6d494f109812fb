"""A run that becomes far slower says so, once, with a remedy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from omnimask.training.monitoring.slowdown import FIRST, WARM_UP, Slowdown


def observed(seconds: list[float], device: str = "cpu") -> None:
    run: Any = SimpleNamespace(device=torch.device(device))
    watch = Slowdown(run)
    for each in seconds:
        result: Any = SimpleNamespace(tokens=1000)
        watch.after_step(result=result, seconds=each, line=None)


BEGINNING = [10.0] * WARM_UP + [0.1] * FIRST


@pytest.mark.parametrize(
    ("then", "warns"),
    [
        ([0.1] * 400, False),
        ([0.25] * 400, False),
        ([0.4] * 40, False),  # too short a time
        ([0.4] * 60, True),
        ([0.1] * 300 + [1.0] * 400, True),
        ([5.0] * 10, False),  # too few steps
    ],
)
def test_a_third_of_the_rate_of_the_first_steps(then: list[float], warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    observed(BEGINNING + then)
    assert ("another process may be using" in caplog.text) is warns
    assert len(caplog.records) == warns


def test_the_message_has_both_rates_and_a_remedy(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    observed(BEGINNING + [1.0] * 30)
    assert "1,000 tokens/s, down from 10,000" in caplog.text and "train.threads=4" in caplog.text
    caplog.clear()
    observed(BEGINNING + [1.0] * 30, device="cuda")
    assert "raise train.workers" in caplog.text
