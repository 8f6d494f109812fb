"""The toy recipes, and models on them whose head says the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import Reconstruction, Sample
from omnimask.recipe import load_recipe
from omnimask.registry.distributions import PLUGINS
from omnimask.registry.installed import collect
from omnimask.report.reconstruct import reconstruct
from omnimask.training.devices.precision import Precision

RECIPES = Path(__file__).parents[1] / "toys" / "recipes"
SHARES = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 3 / 512, 1 / 512, 1 / 128]
"""Of the eight letters and the mask id."""


@pytest.fixture(scope="session")
def built() -> Callable[..., Built]:
    """Builds a toy recipe by name."""
    toys = [EntryPoint(name=module, value=module, group=PLUGINS) for module in ("toy_signal", "toy_grammar", "toy_pairs")]
    registry = collect([*entry_points(group=PLUGINS), *toys])

    def built(name: str, overrides: Sequence[str] = ()) -> Built:
        return build(load_recipe(RECIPES / f"{name}.yaml", overrides, registry=registry))

    return built


@pytest.fixture
def constant(built: Callable[..., Built]) -> Callable[..., Built]:
    """A toy whose heads give every letter its share of ``SHARES``, whatever they read."""

    def constant(name: str, overrides: Sequence[str] = ()) -> Built:
        toy = built(name, overrides)
        for part in toy.model.each():
            for predictor in part.predictors.values():
                head = predictor.heads["words"]  # pyright: ignore[reportAttributeAccessIssue]
                with torch.no_grad():
                    head.weight.zero_()
                    head.bias.copy_(torch.tensor(SHARES).log())
        return toy

    return constant


def look(built: Built, count: int = 12) -> tuple[list[Sample], dict[str, list[Reconstruction]]]:
    """The first samples, with the masks of validation, and what the model fills in."""
    samples = [built.validation.sample(Place(0, 0, index, 0.0)) for index in range(count)]
    batch = built.validation.pack(samples)
    precision = Precision("fp32", torch.device("cpu"))
    return samples, reconstruct(built.model, samples, batch, built.tokenizers, built.specs, precision)
