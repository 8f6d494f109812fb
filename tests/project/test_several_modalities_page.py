"""The joint masker on the page about several modalities masks as it says, is registered, and trains."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import omnimask
from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.interfaces import Context, Draw, JointMasker, Sample, Tokens
from omnimask.recipe import load_recipe
from omnimask.registry.installed import GROUP, collect

ROOT = Path(__file__).resolve().parents[2]
TOYS = ROOT / "tests" / "toys"
PAGE = (ROOT / "docs" / "several-modalities.md").read_text(encoding="utf-8")
BLOCK = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's module, and a plugin that registers it as the page says."""
    module: Any = ModuleType("lab_maskers")
    exec(compile(BLOCK, "several-modalities.md", "exec"), module.__dict__)
    plugin: Any = ModuleType("lab_plugin")

    def omnimask_register(registry: Any) -> None:
        registry.add_joint_masker("lab.one_side", "lab_maskers:OneSide")

    plugin.omnimask_register = omnimask.hookimpl(omnimask_register)
    module.OneSide.__module__ = "lab_maskers"
    monkeypatch.setitem(sys.modules, "lab_maskers", module)
    monkeypatch.setitem(sys.modules, "lab_plugin", plugin)
    monkeypatch.syspath_prepend(str(TOYS / "plugins"))
    return module


def _sample(key: str, *names: str) -> Sample:
    place = np.arange(6, dtype=np.float32)[:, None]
    return Sample({name: Tokens(np.arange(6), place) for name in names}, Draw(0, 0, key), ("a", "b"))


def test_one_modality_is_hidden_and_the_other_shown(lab: Any) -> None:
    masker = lab.OneSide(Context(modalities=("a", "b")))
    assert isinstance(masker, JointMasker)
    hidden = set()
    for number in range(20):
        masking = masker(_sample(str(number), "a", "b"))
        sides = {name for name, one in masking.items() if one.is_target.all()}
        assert len(sides) == 1 and all(one.is_visible.all() for name, one in masking.items() if name not in sides)
        hidden |= sides
    assert hidden == {"a", "b"}
    (alone,) = masker(_sample("x", "a")).values()
    assert 0 < alone.is_target.sum() < 6 and (alone.is_visible != alone.is_target).all()


def test_a_recipe_of_two_modalities_builds_and_has_a_loss(lab: Any, tmp_path: Path) -> None:
    names = ("toy_signal", "toy_grammar", "toy_pairs", "lab_plugin")
    registry = collect([*entry_points(group=GROUP), *(EntryPoint(name=name, value=name, group=GROUP) for name in names)])
    text = (TOYS / "recipes" / "pairs_drop.yaml").read_text(encoding="utf-8")
    text = re.sub(r"    masker: .*\n", "", text).replace("encoder:", "masker: {name: lab.one_side, ratio: 0.5}\nencoder:")
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    built = build(load_recipe(path, registry=registry))
    batch = next(iter(built.validation_batches()))
    assert built.model(batch).loss.item() > 0


def test_pictures_train_with_their_names(tmp_path: Path) -> None:
    (text,) = re.findall(r'```yaml title="named.yaml"\n(.*?)```', PAGE, flags=re.DOTALL)
    (tmp_path / "named.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / "named.yaml").data.dataset.name == "emoji"
    assert main(["pretrain", str(tmp_path / "named.yaml"), "--smoke", "--run", str(tmp_path / "run")]) == 0
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"reconstructions-image.png", "reconstructions-text.html"}
