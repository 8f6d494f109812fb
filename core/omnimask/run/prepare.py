"""Makes a run's parts from its recipe; everything that can be wrong with the input is found here, before anything is written."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from omnimask.builder import Built, build
from omnimask.component import Component
from omnimask.data.contents import FINGERPRINT_FORMAT
from omnimask.data.planner import Place
from omnimask.errors import RunStopped, UserError
from omnimask.evaluation.unigram import unigram_scores
from omnimask.hooks import RUN_TIME
from omnimask.interfaces import Sample
from omnimask.recipe import Recipe
from omnimask.registry import Registry, discover
from omnimask.run.device import choose_device
from omnimask.run.figures import load_renderers
from omnimask.training.loop import Trainer
from omnimask.training.ranks import current
from omnimask.training.run_directory import RunDirectory

_TRIED = 100
"""So many samples are tried, until one can be read, before a run begins."""


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its model and data, its folder, and the trainer that joins them."""

    built: Built
    directory: RunDirectory
    device: torch.device
    trainer: Trainer

    @property
    def recipe(self) -> Recipe:
        return self.built.recipe


def prepare(recipe: Recipe, path: Path, *, show: bool = True, initialise: bool = True) -> Run:
    """Builds everything that a recipe needs to train in a folder, and writes nothing.

    Args:
        recipe: resolved.
        path: the run directory, existing or not.
        show: whether training shows its progress on stderr.
        initialise: whether the weights come from the recipe's ``init``, if it has one; not where a checkpoint follows.

    Raises:
        UserError: the parts do not fit, the data are not there or cannot be read, the device is absent.
    """
    ranks, directory = current(), RunDirectory(path)
    with ranks.together():
        device = choose_device(recipe.device, ranks)
        built = build(recipe, initialise=initialise)
        check_data(built, ranks.world)
        load_renderers(recipe)
    shares: Any = {"device": device.type, "rank": ranks.rank, "world": ranks.world}
    with ranks.together():
        trainer = Trainer(
            built.model,
            lambda cursor, step: built.loader(cursor, step, **shares),
            (lambda: built.validation_batches(**shares)) if len(built.validation_indices) else None,
            recipe.train,
            recipe.seed,
            directory,
            device,
            max_bad=recipe.data.options.max_bad,
            num_samples=len(built.train_indices),
            left_out=built.left_out,
            plugins=plugin_versions(recipe),
            baselines=lambda: unigram_scores(built),
            show=show,
            ranks=ranks,
        )
    return Run(built, directory, device, trainer)


def start(recipe: Recipe, path: Path, *, show: bool = True) -> Run:
    """A new run: checks all of its input, then makes its folder with ``recipe.yaml`` and ``environment.json``.

    Raises:
        UserError: something is wrong with the input, or the folder is not empty; nothing was written.
        RunStopped: the folder cannot be written.
    """
    ranks = current()
    with ranks.together():
        RunDirectory(path).check_new()
    recipe = with_absolute_paths(recipe)
    run = prepare(recipe, path, show=show)
    ranks.first(lambda: run.directory.create(recipe.to_yaml(), plugin_versions(recipe), data_record(run.built)))
    return run


def first_sample(built: Built) -> Sample:
    """The first training sample that can be read.

    Raises:
        UserError: of the first hundred, none can be.
    """
    reasons: list[str] = []
    tried = built.train_indices[:_TRIED].tolist()
    for index in tried:
        try:
            return built.validation.sample(Place(0, 0, index, 0.0))
        except (OSError, ValueError) as error:
            reasons.append(f"{built.dataset.key(index)}: {type(error).__name__}: {error}")
    shown = "".join(f"\n  {reason}" for reason in reasons[:3])
    count = f"none of the {len(tried)} training samples" if len(tried) < _TRIED else f"none of the first {_TRIED} samples"
    raise UserError(f"data: {count} can be read:{shown}" + ("\n  ..." if len(reasons) > 3 else ""))


def check_data(built: Built, world: int = 1) -> None:
    """Reads, masks and packs one sample, and knows how many tokens every sample has.

    Raises:
        UserError: no sample can be read, or its tokens cannot be masked as the recipe says, or a step may have nothing for one of
            ``world`` ranks.
    """
    sample = first_sample(built)
    try:
        built.validation.pack([sample])
    except RunStopped as error:
        raise UserError(str(error)) from error
    planner = built.planner()
    if world > 1:
        try:
            planner.check_world(world)
        except ValueError as error:
            raise UserError(f"train.batch_tokens: {error}") from error


def data_record(built: Built) -> dict[str, Any]:
    """What ``environment.json`` keeps under ``data``, so that a resume on other data is refused."""
    return {"fingerprint": built.dataset.fingerprint(), "format": FINGERPRINT_FORMAT, "samples": len(built.dataset)}


def plugin_versions(recipe: Recipe, registry: Registry | None = None) -> dict[str, str]:
    """Version by name of every distribution whose components take part, or whose hooks are called."""
    registry = registry or discover()
    plugins = [registry.entry(component.kind, component.name).plugin for component in components_of(recipe)]
    plugins += [plugin for plugin, _ in registry.implementing(*RUN_TIME)]
    return {plugin.distribution: plugin.version for plugin in sorted(plugins, key=lambda plugin: plugin.distribution)}


def components_of(value: Any) -> Iterator[Component[Any]]:
    """Every component in a recipe (or a part of one), nested ones included."""
    if isinstance(value, Component):
        yield value
        yield from components_of(value.options)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from components_of([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(components_of, value.values()))
    elif isinstance(value, (list, tuple)):
        yield from itertools.chain.from_iterable(map(components_of, value))
    elif isinstance(fields := getattr(type(value), "model_fields", None), Mapping):
        yield from components_of([getattr(value, name) for name in fields])


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The data's paths no longer depend on the working directory, from which a later command may not be called."""
    dataset = recipe.data.dataset
    options = {name: value.expanduser().absolute() if isinstance(value, Path) else value for name, value in dataset.options.items()}
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, dataset=dataclasses.replace(dataset, options=options)))
