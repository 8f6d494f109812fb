"""``to_yaml`` writes everything, and loading it gives an equal recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnimask.recipe import Recipe, load_recipe
from omnimask.recipe.yaml_text import inline

FLOATS = st.floats(1e-300, 1e300, exclude_min=True)
TEXT = st.text(min_size=1).filter(lambda text: text != "???")
SINCOS = st.fixed_dictionaries(
    {"name": st.just("sincos")}, optional={"temperature": FLOATS | st.just(float("inf")), "levels": st.lists(st.integers())}
)
OVERRIDES = {
    "seed": st.integers(0, 2**80),
    "device": st.sampled_from(["auto", "cpu", "cuda"]),
    "modalities.image.field": TEXT | st.lists(TEXT, min_size=1, max_size=3, unique=True),
    "modalities.image.masker": st.sampled_from([{"name": "span"}, {"name": "span", "mean_length": 2}, {"name": "random"}]),
    "modalities.image.embedding": st.sampled_from([None, {"name": "linear"}]),
    "modalities.image.augment": st.lists(st.sampled_from([{"name": "flip"}, {"name": "crop", "scale": [0, 1]}]), max_size=3),
    "encoder.position": SINCOS,
    "encoder.second": st.none() | SINCOS,
    "encoder.chain": st.lists(SINCOS, max_size=3),
    "encoder.extra": st.dictionaries(TEXT, SINCOS, max_size=3),
    "predictors.0.weight": FLOATS,
    "predictors.0.label": TEXT,
    "predictors.0.layer": st.none() | st.integers(1, 12),
    "data.path": TEXT,
    "data.suffixes": st.lists(TEXT, max_size=3),
    "data.cache": st.none() | TEXT,
    "data.max_bad": st.sampled_from([{}, {"fraction": 1, "at_least": 0}, 10, 0.01]),
    "train.optimizer.lr": FLOATS,
    "train.schedule.warmup": st.integers() | st.just("auto"),
    "train.micro_batch_tokens": st.just("auto") | st.integers(1),
    "train.clip": st.none() | FLOATS,
    "train.compile": st.booleans(),
}


def _load(text: str, registry, overrides=(), smoke: bool = False) -> Recipe:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, overrides, smoke=smoke, registry=registry)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.fixed_dictionaries({}, optional=OVERRIDES), st.booleans())
def test_a_resolved_recipe_loads_to_an_equal_one(text: str, registry, values: dict, smoke: bool) -> None:
    recipe = _load(text, registry, [f"{key}={inline(value)}" for key, value in values.items()], smoke)
    written = recipe.to_yaml()
    again = _load(written, registry)
    assert again == recipe
    assert again.to_yaml() == written


def test_everything_is_written(load, text) -> None:
    written = load(text).to_yaml()
    for words in ("seed: 0", "device: auto", "patch_size: 16", "temperature: 10000.0", "layer: null", "max_bad:", "log_every: 10"):
        assert words in written
