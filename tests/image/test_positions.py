"""Patches of digits without positions find their places."""

from __future__ import annotations

from pathlib import Path

from omnimask.recipe import load_recipe
from omnimask.run.prepare import start

RECIPE = [
    "device=cpu",
    "modalities.image.masker.ratio=1.0",
    "modalities.image.corruptor={name: withhold_position, seen: 0.5}",
    "encoder.summary=0",
    "encoder.width=48",
    "encoder.depth=2",
    "encoder.position.name=none",
    "predictors=[{name: in_place, target: {name: position}}]",
    "train.steps=150",
    "train.batch_tokens=1024",
    "train.optimizer.lr=3e-3",
    "train.validate_every=150",
    "train.checkpoint_every=150",
]


def test_digits(tmp_path: Path) -> None:
    summary = start(load_recipe("image/digits", RECIPE), tmp_path / "run", show=False).trainer.fit()
    assert summary is not None
    scores = summary["validation_scores"]["in_place"]
    assert scores["accuracy"] > 4 / 16  # many of the 16 patches are empty, and none is larger than 2 x 2 pixels
    assert scores["top5"] > 2 * 5 / 16
