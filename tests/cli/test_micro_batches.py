"""Micro-batches of a recipe with two views: what ``inspect`` says, what a run records, and how it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.builder import build as builder
from omnimask.builder.micro_batches import AUTO_MICRO_BATCH, TokenCost
from omnimask.network.model import MaskedModel
from omnimask.run.resume import reopen

from ..tiny_recipes import IMAGE

Command = Callable[..., Any]
KEY = "auto_micro_batch_tokens"
DECODER = "  - {name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}\n"
TWO_VIEWS = """\
  - {name: in_place, target: {name: patch}}
  - {name: bottleneck, query: decode, heads: 2, tied: false, position: {name: sincos}, target: {name: patch}}
views:
  decode: {masker: {name: random, ratio: 1.0}, corruptor: {name: keep}, draw: decode}
"""
SMALL = {"cpu": 160, "cuda": 320}


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    for device, tokens in SMALL.items():
        monkeypatch.setitem(AUTO_MICRO_BATCH, device, tokens)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def two_views(tmp_path: Path) -> Path:
    """A recipe whose second view is read by a decoder as large as the encoder."""
    path = tmp_path / "two_views.yaml"
    text = IMAGE.replace(DECODER, TWO_VIEWS).replace("{name: drop}", "{name: mask_token}")
    path.write_text(text.replace("batch_tokens: 32", "batch_tokens: 256"), encoding="utf-8")
    return path


def cut(run: Path) -> Path:
    """End a run after step 4, at a checkpoint, as after a kill."""
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    (run / "summary.json").unlink()
    return run


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "environment.json"
    environment = json.loads(path.read_text())
    change(environment)
    path.write_text(json.dumps(environment))


@pytest.fixture
def begun(omnimask: Command, two_views: Path, tmp_path: Path) -> Path:
    """A run of 6 steps under ``auto`` that ended after step 4."""
    assert omnimask("pretrain", two_views, "--run", "a", "train.keep_checkpoints=9").code == 0
    return cut(tmp_path / "a")


def tokens(run: Path, *changes: str) -> int:
    """Tokens per micro-batch of a continuation."""
    return reopen(run, changes, show=False).built.micro_batch_tokens("cpu")


def test_inspect_says_what_a_token_costs(omnimask: Command, two_views: Path) -> None:
    shown = " ".join(omnimask("inspect", two_views).out.split())
    found = json.loads(omnimask("inspect", two_views, "--json").out)
    slots = found["slots_per_token"]
    assert 2 <= slots < 2.3 and found["gradient_views"] == ["main", "decode"]
    assert found["micro_batch_tokens"] == int(160 / slots)
    assert f"memory per token {slots:g} slots of the encoder, in 2 views (main, decode): micro-batches of" in shown
    assert f"micro-batches of {int(160 / slots)} tokens one step" in shown
    fixed = json.loads(omnimask("inspect", two_views, "--json", "train.micro_batch_tokens=160").out)
    assert fixed["memory"]["activations"] == pytest.approx(found["memory"]["activations"] * 160 / int(160 / slots), rel=1e-6)
    assert "micro-batches of 160 tokens, as set" in " ".join(
        omnimask("inspect", two_views, "train.micro_batch_tokens=160").out.split()
    )


def test_inspect_is_silent_about_a_view_alone(omnimask: Command, recipe: Path) -> None:
    assert "memory per token" not in omnimask("inspect", recipe).out
    assert json.loads(omnimask("inspect", recipe, "--json").out)["slots_per_token"] == 1


def test_a_run_records_what_auto_stands_for(omnimask: Command, begun: Path, recipe: Path, tmp_path: Path, files_of: Any) -> None:
    assert files_of(begun).environment[KEY] == {"cpu": tokens(begun)}
    assert 160 / 2.3 < tokens(begun) <= 80
    omnimask("pretrain", recipe, "--run", "b")
    omnimask("pretrain", recipe, "--run", "c", "train.micro_batch_tokens=8")
    assert [files_of(tmp_path / run).environment[KEY] for run in "bc"] == [{"cpu": 160}, {}]


def test_a_step_out_of_memory_names_the_views(omnimask: Command, two_views: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MaskedModel.forward

    def failing(model: MaskedModel, *arguments: Any, **options: Any) -> Any:
        if torch.is_grad_enabled():
            raise MemoryError
        return forward(model, *arguments, **options)

    monkeypatch.setattr(MaskedModel, "forward", failing)
    result = omnimask("pretrain", two_views, "--run", "a", "train.micro_batch_tokens=100")
    assert result.code == 1
    assert "25 samples, and a token costs 2.1 slots of the encoder, because several views have gradients" in result.errors[0]
    assert "set train.micro_batch_tokens=50 (gradients stay the same)" in result.errors[0]


def test_a_run_goes_on_with_the_recorded_number(
    omnimask: Command, begun: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, recorded = files_of(begun).losses, tokens(begun)
    monkeypatch.setitem(AUTO_MICRO_BATCH, "cpu", 64)  # pyright: ignore[reportArgumentType]
    assert tokens(begun) == recorded
    assert omnimask("resume", "a").code == 0
    assert files_of(begun).losses == before


def test_another_device_gets_a_number_of_its_own(begun: Path) -> None:
    recorded = tokens(begun)
    edit(begun, lambda environment: environment.update({KEY: {"cuda": 7}}))
    assert tokens(begun) == recorded


def test_a_number_of_the_user_applies_and_auto_comes_back(begun: Path) -> None:
    recorded = tokens(begun)
    assert tokens(begun, "train.micro_batch_tokens=33") == 33
    edit(begun, lambda environment: environment.update({KEY: {}}))  # as if it had begun with a number
    assert tokens(begun) == recorded


@pytest.mark.parametrize(
    "damage", [lambda found: found.pop(KEY), lambda found: found.update({KEY: "160"})], ids=["absent", "damaged"]
)
def test_a_run_without_a_record_goes_on_as_it_began(
    omnimask: Command, two_views: Path, tmp_path: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    with monkeypatch.context() as undivided:
        undivided.setattr(builder, "measure_token_cost", lambda *_: TokenCost(1.0, ("main",)))
        assert omnimask("pretrain", two_views, "--run", "a", "train.keep_checkpoints=9").code == 0
    run = tmp_path / "a"
    before = files_of(cut(run)).losses
    edit(run, damage)
    assert tokens(run) == 160
    assert omnimask("resume", "a").code == 0
    assert files_of(run).losses == before
