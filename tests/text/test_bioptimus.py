"""BIOptimus: strategy, rate and corruption are schedules of their own, and the metrics show them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.cli import main
from omnimask.interfaces import CONTENT

from .reports import SMALL, seen, small

PHASES = {0.1: ("tokens", 0.15, 0.8), 0.3: ("words", 0.15, 0.8), 0.6: ("words", 0.2, 0.8), 0.9: ("words", 0.2, 1.0)}
"""By share of the run: strategy, rate, and the share of hidden tokens that the mask token stands for."""


@pytest.fixture(scope="module")
def curriculum() -> Built:
    return small("text/bioptimus")


def measured(built: Built, progress: float) -> tuple[str, float, float]:
    """Over 300 reports: whether words are hidden as a whole, the share hidden, and the share of them behind mask tokens."""
    mask = built.pipeline.specs["text"].id("mask")
    hidden = candidates = masked = 0
    is_whole = True
    for sample, stream in seen(built, 300, progress=progress):
        fields = sample.tokens["text"].fields
        is_asked = np.isin(np.arange(len(sample)), stream.targets.of)
        word = np.asarray(fields["word"])
        is_whole &= not set(word[is_asked].tolist()) & set(word[~is_asked].tolist())
        hidden, candidates = hidden + int(is_asked.sum()), candidates + np.count_nonzero(~np.asarray(fields["special"]))
        masked += int((stream.literal[is_asked] == mask).sum())
        assert not (stream.literal[~is_asked] != CONTENT).any()
    return "words" if is_whole else "tokens", hidden / candidates, masked / hidden


@pytest.mark.parametrize("progress", PHASES)
def test_phases_are_those_of_the_paper(curriculum: Built, progress: float) -> None:
    strategy, rate, masked = PHASES[progress]
    found = measured(curriculum, progress)
    assert found[0] == strategy
    assert found[1] == pytest.approx(rate, abs=0.01)
    assert found[2] == pytest.approx(masked, abs=0.025 if masked < 1 else 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("modalities.text.masker.maskers.1.ratio=0.4", ("words", 0.4, 0.8)),
        ("modalities.text.masker.until=[0.9]", ("tokens", 0.15, 0.8)),
        ("modalities.text.corruptor.until=[0.1]", ("words", 0.2, 1.0)),
    ],
)
def test_axes_change_one_by_one(change: str, expected: tuple[str, float, float]) -> None:
    """In phase 3: another rate, another strategy (tokens keep the rate of their own), another corruption; the rest stays."""
    strategy, rate, masked = measured(small("text/bioptimus", change), 0.6)
    assert strategy == expected[0]
    assert (rate, masked) == (pytest.approx(expected[1], abs=0.015), pytest.approx(expected[2], abs=0.03))


def test_the_curriculum_is_visible_in_the_metrics(tmp_path: Path) -> None:
    """Eight steps, two for each phase: 15 % until the middle, 20 % from there on; words from the third step on."""
    overrides = [*SMALL, "train.steps=8", "train.log_every=1", "train.validate_every=8", "train.checkpoint_every=8"]
    assert main(["pretrain", "text/bioptimus", "--run", str(tmp_path / "run"), *overrides]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "lr" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert [line.get("mask_kind.1", 0.0) for line in steps] == [0.0] * 2 + [1.0] * 6
    assert [line["mask_ratio"] for line in steps] == pytest.approx([0.15] * 4 + [0.2] * 4, abs=0.02)
