"""Recipes for folders of pictures: numbers that suit their size, their number and the device, and that always load."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from omnimask.interfaces import Context
from omnimask.recipe import load_recipe
from omnimask_image.suggest import survey as surveys
from omnimask_image.suggest.suggester import Plan, SuggestFolder
from omnimask_image.suggest.survey import Survey, survey


def seen(side: int, number: int = 1000, *, grey: bool = False, bad: int = 0) -> Survey:
    unreadable = tuple((f"{i}.png", "broken") for i in range(bad))
    return Survey(Counter({".png": number}), Counter(), ((side, side + 10),), int(grey), unreadable)


@pytest.mark.parametrize(
    ("side", "has_gpu", "image_size", "patch_size"),
    [
        (5, False, 8, 2),
        (8, False, 8, 2),
        (28, False, 28, 4),
        (32, True, 32, 4),
        (50, False, 48, 8),
        (75, False, 64, 8),
        (1000, False, 64, 8),
        (100, True, 96, 8),
        (150, True, 144, 16),
        (1000, True, 224, 16),
    ],
)
def test_sizes_follow_the_median(side: int, has_gpu: bool, image_size: int, patch_size: int) -> None:
    plan = Plan(seen(side), has_gpu)
    assert (plan.image_size, plan.patch_size) == (image_size, patch_size)


def test_networks_and_runs_grow_with_the_number_of_pictures() -> None:
    numbers = (10, 1000, 5000, 50_000, 1_000_000)
    for has_gpu in (False, True):
        plans = [Plan(seen(224, number), has_gpu) for number in numbers]
        for grown in ([plan.network[:2] for plan in plans], [plan.batch for plan in plans], [plan.steps for plan in plans]):
            assert grown == sorted(grown)
    assert Plan(seen(224, 1_000_000), True).network == (768, 12, 12)
    assert Plan(seen(224, 1_000_000), True).lr == pytest.approx(6e-4)
    assert max(Plan(seen(224, number), False).steps for number in numbers) == 2000


@settings(max_examples=20)
@given(side=st.integers(1, 5000), number=st.integers(1, 10**7), grey=st.booleans(), bad=st.integers(0, 300), has_gpu=st.booleans())
def test_every_plan_loads(
    tmp_path_factory: pytest.TempPathFactory, side: int, number: int, grey: bool, bad: int, has_gpu: bool
) -> None:
    file = tmp_path_factory.mktemp("plan") / "recipe.yaml"
    plan = Plan(seen(side, number, grey=grey, bad=bad), has_gpu)
    file.write_text(plan.recipe(Path("/a/folder: with {braces} # and 'quotes'")), encoding="utf-8")
    recipe = load_recipe(file)
    assert recipe.data.dataset.options["path"] == Path("/a/folder: with {braces} # and 'quotes'")
    assert recipe.train.batch_tokens == plan.batch * plan.tokens
    assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= 132
    width, _, heads = plan.network
    assert width % heads == 0


def test_grey_pictures_and_broken_ones_are_written_down(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((12, 9), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    suggestion = SuggestFolder(Context())(tmp_path)
    assert suggestion is not None and suggestion.num_files == 4
    assert suggestion.summary["greyscale"] == "100%"
    assert suggestion.summary["labels"] == "none: no sub-folders"
    assert "broken.png (the file is empty)" in suggestion.summary["unreadable"]
    assert "channels: 1" in suggestion.recipe and "max_bad: {fraction: 0.5}" in suggestion.recipe


def test_a_folder_without_pictures_is_not_for_it(tmp_path: Path) -> None:
    assert SuggestFolder(Context())(tmp_path) is None


def test_only_a_sample_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        Image.new("RGB", (10, 10)).save(tmp_path / f"{number:02d}.png")
    monkeypatch.setattr(surveys, "SAMPLE", 20)
    first, again = survey(tmp_path), survey(tmp_path)
    assert first is not None and first == again
    assert (first.num_files, first.num_looked_at) == (30, 20)
    monkeypatch.setattr(surveys, "MOST_PIXELS", 250)
    shorter = survey(tmp_path)
    assert shorter is not None and shorter.num_looked_at == 3
