"""Early stopping from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_a_run_ends_early_says_so_and_can_go_on(omnimask: Command, recipe: Path) -> None:
    still = ("train.optimizer.lr=1e-30", "train.validate_every=1", "train.patience=2")  # no weight moves by so small a rate
    result = omnimask("pretrain", recipe, *still, "--run", "a")
    assert result.code == 0
    assert "finished at step 3 of 6, loss" in result.err
    assert ", ended early after 2 validations in a row without a lower loss than at step 1 (train.patience)" in result.err
    summary = json.loads(Path("a/summary.json").read_text())
    assert (summary["ended_early"], summary["validations_without_gain"], summary["best_step"]) == (True, 2, 1)
    assert Path("a/figures/reconstructions.png").is_file()
    again = omnimask("resume", "a", "train.steps=8")
    assert again.code == 0
    assert "a is finished at step 3; train.patience=N with a larger N continues training" in again.err
    more = omnimask("resume", "a", "train.patience=3")
    assert (more.code, "finished at step 4 of 6" in more.err) == (0, True)
    rest = omnimask("resume", "a", "train.patience=null")
    assert (rest.code, "finished at step 6 of 6" in rest.err, "early" in rest.err) == (0, True, False)


def test_patience_without_held_out_samples(omnimask: Command, recipe: Path) -> None:
    result = omnimask("pretrain", recipe, "train.patience=2", "data.validation=0", "--run", "a")
    assert result.code == 2 and not Path("a").exists()
    assert result.errors == ["train.patience needs held-out samples; raise data.validation"]
