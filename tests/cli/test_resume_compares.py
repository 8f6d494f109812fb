"""``omnimask resume`` compares everything that could make it another run with what the checkpoint was made with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.registry import discover

Command = Callable[..., Any]

MASKER = """
from omnimask.components.maskers.random import RandomMasker


class Ours(RandomMasker):
    '''Ours.

    Args:
        ratio: share of masked tokens.
    '''

    def __init__(self, context, *, ratio: float = {ratio}{further}) -> None:
        super().__init__(context, ratio=ratio)
"""
PLUGIN = """
import omnimask

@omnimask.hookimpl
def omnimask_register(registry):
    registry.add_masker('waves.ours', 'omnimask_waves_parts:Ours')
"""


@pytest.fixture
def cut(omnimask: Command, recipe: Path, tmp_path: Path) -> Path:
    """A run of 6 steps that ended after step 4, at a checkpoint."""
    return _cut(omnimask, recipe, tmp_path)


def _cut(omnimask: Command, recipe: Path, tmp_path: Path, *changes: str) -> Path:
    assert omnimask("pretrain", recipe, "--run", "a", "train.keep_checkpoints=9", *changes).code == 0
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "step-00000006")
    (tmp_path / "a" / "summary.json").unlink()
    return tmp_path / "a"


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "logs"
    }


@pytest.mark.parametrize(
    "old, new, key",
    [
        ("ratio: 0.5", "ratio: 0.75", "modalities.image.masker.ratio"),
        ("lr: 0.001", "lr: 0.1", "train.optimizer.lr"),
        ("weight_decay: 0.01", "weight_decay: 0.3", "train.optimizer.weight_decay"),
        ("seed: 0", "seed: 3", "seed"),
        ("batch_tokens: 32", "batch_tokens: 64", "train.batch_tokens"),
        ("validation: 0.05", "validation: 0.2", "data.validation"),
        ("clip: null", "clip: 1.0", "train.clip"),
    ],
)
def test_an_edited_recipe_is_refused_with_the_key(omnimask: Command, cut: Path, old: str, new: str, key: str) -> None:
    _edit(cut / "recipe.yaml", old, new)
    before = _contents(cut)
    result = omnimask("resume", "a", "train.workers=0")
    was, now = old.rpartition(": ")[2], new.rpartition(": ")[2]
    assert (result.code, result.errors[0]) == (2, f"{key}: {was} cannot change to {now} in a resumed run")
    assert f"--accept-changes {key}" in result.errors[-1]
    assert _contents(cut) == before


def test_every_edit_is_named_at_once(omnimask: Command, cut: Path) -> None:
    _edit(cut / "recipe.yaml", "lr: 0.001", "lr: 0.1")
    _edit(cut / "recipe.yaml", "ratio: 0.5", "ratio: 0.75")
    result = omnimask("resume", "a", "seed=4")
    assert [message.partition(":")[0] for message in result.errors[:-1]] == [
        "seed",
        "modalities.image.masker.ratio",
        "train.optimizer.lr",
    ]


def test_an_accepted_change_is_in_force_and_kept_in_the_history(omnimask: Command, cut: Path, files_of: Any) -> None:
    _edit(cut / "recipe.yaml", "lr: 0.001", "lr: 0.1")
    result = omnimask("resume", "a", "--accept-changes", "train.optimizer.lr")
    assert result.code == 0, result.err
    assert {line["lr"] for line in files_of(cut).metrics if line["step"] > 4 and "lr" in line} == {0.1}
    assert [json.loads(line) for line in (cut / "history.jsonl").read_text().splitlines()] == [
        {
            "step": 4,
            "attempt": 2,
            "changes": {"train.optimizer.lr": ["0.001", "0.1"]},
            "accepted": ["train.optimizer.lr"],
        }
    ]
    assert omnimask("resume", "a", "train.steps=7").code == 0  # the new checkpoints were made with the new value
    assert "lr: 0.1" in (cut / "checkpoints" / "step-00000007" / "recipe.yaml").read_text()


def test_what_was_accepted_holds_until_the_next_checkpoint(omnimask: Command, cut: Path) -> None:
    assert omnimask("resume", "a", "seed=5", "--accept-changes", "seed").code == 0
    for step in (5, 6):
        shutil.rmtree(cut / "checkpoints" / f"step-0000000{step}", ignore_errors=True)
    (cut / "summary.json").unlink()
    assert omnimask("resume", "a").code == 0
    assert len((cut / "history.jsonl").read_text().splitlines()) == 2


def test_a_key_stands_for_those_below_it_and_one_that_changed_nothing_is_named(omnimask: Command, cut: Path) -> None:
    result = omnimask("resume", "a", "train.optimizer.lr=0.1", "train.optimizer.eps=1e-6", "--accept-changes", "train.optimizer")
    assert result.code == 0
    result = omnimask("resume", "a", "train.steps=8", "seed=1", "--accept-changes", "seeds")
    assert result.code == 2
    assert "--accept-changes seeds: no change of this name (did you mean 'seed'?)" in result.err


def test_steps_can_not_shrink_even_where_accepted(omnimask: Command, cut: Path) -> None:
    result = omnimask("resume", "a", "train.steps=5", "--accept-changes", "train.steps")
    assert "train.steps: 6 can only increase" in result.errors[0]


def _install(distribution: Callable[..., Path], **further: str) -> Path:
    source = MASKER.format(ratio=0.5, further="", **further)
    info = distribution("waves", {"omnimask_waves": PLUGIN, "omnimask_waves_parts": source}, "[omnimask]\nwaves = omnimask_waves\n")
    return info.parent / "omnimask_waves_parts.py"


def _edited(file: Path, source: str) -> None:
    """The plugin's file is another one, as for a new process."""
    import importlib
    import sys

    file.write_text(source, encoding="utf-8")
    sys.modules.pop("omnimask_waves_parts", None)
    importlib.invalidate_caches()
    discover(refresh=True)


def test_the_edited_source_of_a_plugin_is_refused(
    omnimask: Command, recipe: Path, tmp_path: Path, distribution: Callable[..., Path]
) -> None:
    file = _install(distribution)
    cut = _cut(omnimask, recipe, tmp_path, "modalities.image.masker={name: waves.ours}")
    _edited(file, MASKER.format(ratio=0.5, further="") + "\n# another one\n")
    before = _contents(cut)
    result = omnimask("resume", "a")
    assert result.code == 2
    assert result.errors[0].startswith("source.omnimask_waves_parts: the plugin's source has changed")
    assert _contents(cut) == before
    assert omnimask("resume", "a", "--accept-changes", "source.omnimask_waves_parts").code == 0
    assert json.loads((cut / "history.jsonl").read_text())["accepted"] == ["source.omnimask_waves_parts"]


def test_a_new_default_is_named(omnimask: Command, recipe: Path, tmp_path: Path, distribution: Callable[..., Path]) -> None:
    file = _install(distribution)
    _cut(omnimask, recipe, tmp_path, "modalities.image.masker={name: waves.ours}")
    _edited(file, MASKER.format(ratio=0.5, further=", bias: float = 3.0"))
    result = omnimask("resume", "a", "--accept-changes", "source.omnimask_waves_parts")
    assert result.code == 2
    assert result.errors[0] == "modalities.image.masker.bias: new since the run was trained; now 3.0"


def test_before_the_first_checkpoint_the_beginning_is_compared(omnimask: Command, cut: Path) -> None:
    shutil.rmtree(cut / "checkpoints")
    (cut / "metrics.jsonl").write_text("")
    _edit(cut / "recipe.yaml", "seed: 0", "seed: 3")
    assert omnimask("resume", "a").errors[0] == "seed: 0 cannot change to 3 in a resumed run"


def test_a_run_of_an_earlier_version_says_once_that_nothing_was_kept(omnimask: Command, cut: Path) -> None:
    for checkpoint in (cut / "checkpoints").glob("step-*"):
        _forget(checkpoint)
    result = omnimask("resume", "a")
    assert result.code == 0, result.err
    assert result.err.count("without a recipe") == 1


def _forget(checkpoint: Path) -> None:
    """The checkpoint as a version wrote it that kept no recipe in it."""
    from omnimask.training.checkpoints.directory import CheckpointManifest

    manifest = json.loads((checkpoint / "manifest.json").read_text())
    from omnimask.training.checkpoints.durable_files import FileRecord

    kept = {name: FileRecord(**record) for name, record in manifest["files"].items() if name not in ("recipe.yaml", "sources.json")}
    (checkpoint / "recipe.yaml").unlink(), (checkpoint / "sources.json").unlink()
    text = CheckpointManifest(manifest["step"], manifest["cursor"], kept, manifest["versions"]).to_json()
    (checkpoint / "manifest.json").write_text(text)


def test_a_failure_before_the_first_step_leaves_the_run_as_it_was(
    omnimask: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnimask.training.step import StepRunner

    assert omnimask("pretrain", recipe, "--run", "a").code == 0
    before = _contents(tmp_path / "a")

    def broken(*_: Any, **__: Any) -> None:
        raise AssertionError("no step can be taken")

    with monkeypatch.context() as patched:
        patched.setattr(StepRunner, "__call__", broken)
        result = omnimask("resume", "a", "train.steps=8", "train.activation_checkpointing=true", traceback=True)
    assert result.code == 70
    assert _contents(tmp_path / "a") == before
    assert omnimask("resume", "a", "train.steps=8").code == 0
