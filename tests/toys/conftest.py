"""The toy plugins, discovered as installed ones are, and runs of their recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.interfaces import Run
from omnimask.network.model import each_score
from omnimask.recipe import load_recipe
from omnimask.registry import Registry
from omnimask.registry.installed import GROUP, collect
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

RECIPES = Path(__file__).parent / "recipes"
MODULES = ("toy_signal", "toy_grammar", "toy_pairs")


def toy_registry() -> Registry:
    toys = [EntryPoint(name=module, value=module, group=GROUP) for module in MODULES]
    return collect([*entry_points(group=GROUP), *toys])


@dataclass(frozen=True)
class Toy:
    """A trained toy: what was built, and its loss terms over the held-out samples before and after."""

    built: Built
    before: dict[str, float]
    after: dict[str, float]
    summary: dict[str, Any]


@torch.no_grad()
def held_out_terms(built: Built) -> dict[str, float]:
    model = built.model.eval()
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    for batch in built.validation_batches():
        found = model.counts(batch)
        for name, value in model(batch).terms.items():
            totals[name] = totals.get(name, 0.0) + value.item() * found[name]
            counts[name] = counts.get(name, 0.0) + found[name]
    model.train()
    return {name: total / counts[name] for name, total in totals.items()}


@torch.no_grad()
def held_out_scores(built: Built) -> dict[str, dict[str, float]]:
    """Means of the scores over all targets of the held-out samples, by term and name."""
    model = built.model.eval()
    found: dict[str, dict[str, list[torch.Tensor]]] = {}
    for batch in built.validation_batches():
        for term, _, scores in each_score(model, Run(batch, model.predict(batch))):
            for name, values in scores.items():
                found.setdefault(term, {}).setdefault(name, []).append(values.float())
    model.train()
    return {term: {name: float(torch.cat(parts).mean()) for name, parts in scores.items()} for term, scores in found.items()}


@pytest.fixture(scope="session")
def registry() -> Registry:
    return toy_registry()


@pytest.fixture
def built(registry: Registry) -> Callable[..., Built]:
    """Builds a toy recipe by name."""
    return lambda name, overrides=(): build(load_recipe(RECIPES / f"{name}.yaml", overrides, registry=registry))


@pytest.fixture
def trained(built: Callable[..., Built], tmp_path: Path) -> Callable[..., Toy]:
    """Trains a toy recipe with the shared loop."""

    def trained(name: str, overrides: tuple[str, ...] = ()) -> Toy:
        toy = built(name, overrides)
        before = held_out_terms(toy)
        data = TrainingData(lambda cursor, step: toy.loader(cursor, step), toy.validation_batches)
        run = RunContext(RunDirectory(tmp_path / name), torch.device("cpu"), toy.recipe.seed, show=False)
        trainer = Trainer(toy.model, data, toy.recipe.train, run)
        summary = trainer.fit()
        return Toy(toy, before, held_out_terms(toy), summary)

    return trained
