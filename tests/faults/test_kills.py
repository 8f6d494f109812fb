"""What compares a killed run with one that was left alone would find a difference, and the kills are of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Import = Callable[[str], ModuleType]


@pytest.fixture
def evidence(script: Import) -> Any:
    return script("evidence")


def write_run(folder: Path, losses: list[float], weights: bytes = b"weights") -> Path:
    checkpoint = folder / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", "ema.safetensors"):
        (checkpoint / name).write_bytes(weights)
    lines = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, start=1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "summary.json").write_text(json.dumps({"last_checkpoint": checkpoint.name}))
    return folder


def test_equal_runs_are_equal(evidence: Any, tmp_path: Path) -> None:
    assert evidence.differences(write_run(tmp_path / "a", [0.1, 0.2]), write_run(tmp_path / "b", [0.1, 0.2])) == []


def test_the_last_bit_of_a_loss_is_a_difference(evidence: Any, tmp_path: Path) -> None:
    alone, killed = write_run(tmp_path / "a", [0.1, 0.2]), write_run(tmp_path / "b", [0.1, 0.20000000000000004])
    assert [found.partition(":")[0] for found in evidence.differences(alone, killed)] == ["loss of step 00002"]
    shorter = write_run(tmp_path / "c", [0.1])
    assert len(evidence.differences(alone, shorter)) == 1


def test_other_weights_and_what_is_left_over_are_differences(evidence: Any, tmp_path: Path) -> None:
    alone, killed = write_run(tmp_path / "a", [0.1]), write_run(tmp_path / "b", [0.1], b"other")
    (killed / "checkpoints" / "step-00000003.tmp").mkdir()
    assert [found.partition(" ")[0] for found in evidence.differences(alone, killed)] == [
        "ema.safetensors",
        "model.safetensors",
        "half-written",
    ]
    (killed / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n' * 2)
    with pytest.raises(RuntimeError, match="loss of step 00001 is there twice"):
        evidence.differences(alone, killed)


def test_a_checkpoint_without_manifest_is_unreadable(evidence: Any, tmp_path: Path) -> None:
    count, damaged = evidence.unreadable(write_run(tmp_path / "a", [0.1]))
    assert count == 1 and damaged[0].startswith("step-00000002: manifest.json is missing")


@pytest.mark.parametrize(
    "killed, wrong",
    [
        ({1: ["a", "b"], 2: ["c", "b"], 3: ["a", "c"]}, []),
        ({1: ["a", "b"], 2: ["c"], 3: ["a", "c"]}, ["step 2: other samples"]),
        (
            {1: ["a", "b"], 2: ["b", "c"], 3: ["a", "c"]},
            ["step 2: other samples", "epoch 0: b 2 times", "epoch 0: 1 samples"],
        ),
    ],
)
def test_a_sample_that_is_missing_or_twice_is_found(evidence: Any, killed: dict[int, list[str]], wrong: list[str]) -> None:
    alone = {1: ["a", "b"], 2: ["c", "b"], 3: ["a", "c"]}
    epochs, found = evidence.wrong_visits(alone, killed, 3)
    assert epochs >= 1
    for expected in wrong:
        assert any(one.startswith(expected) for one in found), found
    assert bool(wrong) == bool(found)


def test_the_last_note_of_a_step_counts_and_a_torn_one_does_not(script: Import, tmp_path: Path) -> None:
    first = '{"step": 1, "keys": ["a"]}\n{"step": 2, "keys": ["b"]}\n{"step": 3, "ke'
    (tmp_path / "rank0.jsonl").write_text(first + '\n{"step": 2, "keys": ["c"]}\n')
    (tmp_path / "rank1.jsonl").write_text('{"step": 1, "keys": ["x"]}\n')
    assert script("witness").visits(tmp_path) == {1: ["a", "x"], 2: ["c"]}


def test_kills_are_of_all_kinds_and_far_enough_apart(script: Import) -> None:
    campaign = script("campaign")
    plans, steps = campaign.plan(50, 1, [0, 2], seed=0)
    assert {kill.moment for kill in plans} == {"step", "checkpoint", "start"}
    assert {kill.victims for kill in plans} == {"all", "main"}
    assert {kill.workers for kill in plans} == {0, 2}
    targets = [kill.target_step for kill in plans if kill.target_step is not None]
    assert all(after - before >= 2 * campaign.REACH for before, after in pairwise(targets))
    assert targets[-1] + campaign.REACH <= steps
    assert campaign.plan(50, 1, [0, 2], seed=1)[0] != plans
    assert {kill.victims for kill in campaign.plan(50, 2, [0], seed=0)[0]} == {"all", "main", "rank"}


def test_one_number_of_a_share_is_a_difference(evidence: Any, tmp_path: Path) -> None:
    import torch
    from torch.distributed.checkpoint.state_dict_saver import save

    found = []
    for number in (1.0, 1.0, 1.0000001):
        folder = tmp_path / str(len(found))
        save({"model": {"weight": torch.tensor([0.5, number])}}, checkpoint_id=folder / "shards", no_dist=True)
        found.append(evidence.tensors(folder))
    assert list(found[0]) == ["model/weight"] or list(found[0]) == ["model.weight"]
    assert found[0] == found[1] != found[2]
    with pytest.raises(RuntimeError, match="holds no weights"):
        evidence.tensors(tmp_path)


def test_storms_draw_recipes_that_fit(script: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    from omnimask.recipe import load_recipe

    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    storm = script("storm")
    found = []
    for seed in range(4):
        changes, text = storm.draw_recipe(random.Random(seed), "image/digits")
        (tmp_path / "drawn.yaml").write_text(text, encoding="utf-8")
        assert load_recipe(tmp_path / "drawn.yaml").train.steps == storm.STEPS
        found.append(tuple(changes))
    assert len(set(found)) == 4
    chosen = storm.names(random.Random(0), 14)
    assert len(set(chosen)) == 14 and {name.partition("/")[0] for name in chosen} == {"image", "text"}
