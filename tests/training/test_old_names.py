"""Runs and exports of checkpoint format 1, in which passes owned modules, continue and load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

import omnimask
from omnimask.cli import main
from omnimask.export import load_exported
from omnimask.training.checkpoints import directory as formats
from omnimask.training.checkpoints.contents import EMA, MODEL, read_weights
from omnimask.training.checkpoints.directory import MANIFEST, CheckpointManifest, Checkpoints
from omnimask.training.checkpoints.durable_files import hash_file
from omnimask.training.checkpoints.old_names import present_name

from ..tiny_recipes import TEXT

PROBE = "views: {shown: {corruptor: {name: keep}}}\npasses: [{name: probe, view: shown}]\n"


def old_name(name: str) -> str:
    if name.startswith("predictors."):
        return f"passes.main.{name}"
    return name.replace("networks.main.", "passes.main.", 1)


def aged(weights: Path, *, has_probe: bool) -> None:
    """Give a file of weights the names of format 1, those of an earlier pass as second ones."""
    with safe_open(weights, framework="pt") as file:
        tensors = {old_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tied = {name.replace("passes.main.", "passes.probe.", 1): name for name in tensors} if has_probe else {}
    safetensors.torch.save_file(tensors, weights, {"tied": json.dumps(tied)})


def age(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, *, has_probe: bool) -> None:
    aged(checkpoint / MODEL, has_probe=has_probe)
    if (checkpoint / EMA).exists():
        aged(checkpoint / EMA, has_probe=False)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    records = {name: hash_file(checkpoint / name) for name in manifest["files"]}
    with monkeypatch.context() as patched:
        patched.setattr(formats, "FORMAT", 1)
        text = CheckpointManifest(manifest["step"], manifest["cursor"], records, manifest["versions"]).to_json()
    (checkpoint / MANIFEST).write_text(text)
    assert json.loads(text)["format"] == 1


@pytest.mark.parametrize("sections", ["", PROBE], ids=["one pass", "two passes"])
def test_a_run_of_format_1_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: str) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TEXT + sections)
    changes = ["train.ema=0.9", "train.checkpoint_every=2", "train.keep_checkpoints=9"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["pretrain", str(recipe), *changes, "--run", str(whole)]) == 0
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "step-00000004")
    (parts / "summary.json").unlink()  # as after a kill
    (checkpoint,) = Checkpoints(parts / "checkpoints").paths()
    age(checkpoint, monkeypatch, has_probe=bool(sections))
    assert main(["resume", str(parts)]) == 0
    last = [Checkpoints(run / "checkpoints").paths()[-1] for run in (whole, parts)]
    for file in (MODEL, EMA):
        assert (last[0] / file).read_bytes() == (last[1] / file).read_bytes()


def test_an_export_of_earlier_names_loads(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TEXT)
    omnimask.pretrain(str(recipe), tmp_path / "run", show=False)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "safetensors"]) == 0
    expected = load_exported(tmp_path / "out").model.state_dict()
    aged(tmp_path / "out" / MODEL, has_probe=True)
    assert all(name.startswith("networks.main.") or name.startswith("predictors.") for name in read_weights(tmp_path / "out"))
    found = load_exported(tmp_path / "out").model.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_present_names_stay() -> None:
    for name in ("networks.main.encoder.norm.weight", "predictors.mlm.heads.text.bias", "predictors.passes.main.x"):
        assert present_name(name) == name
    assert present_name("passes.probe.encoder.norm.weight") is None
