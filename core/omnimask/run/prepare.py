"""Construction of a run's parts from its recipe. All input is validated here, before anything is written."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from omnimask.builder.allocation import TooLarge, limited_memory
from omnimask.builder.build import Built, build
from omnimask.builder.micro_batches import costs_more
from omnimask.data.fields import names_of
from omnimask.data.file_digests import FINGERPRINT_FORMAT
from omnimask.data.planner import Place
from omnimask.data.sample_parts import SampleParts
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import Sample
from omnimask.messages.printable import printable
from omnimask.network.token_cost import slots_per_token
from omnimask.recipe import Recipe
from omnimask.run.device import choose_device
from omnimask.run.figures import load_renderers
from omnimask.run.plugin_sources import components_by_distribution, plugin_versions
from omnimask.run.provenance import Origin, origin_of
from omnimask.run.recipe_warnings import oddities
from omnimask.run.recorded_tokens import recorded_tokens, tokens_record
from omnimask.run.threads import choose_threads
from omnimask.run.unigram import unigram_scores
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.config import TrainConfig, rate_by_batch
from omnimask.training.devices.ranks import current
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer
from omnimask.training.validation import Scored

logger = logging.getLogger(__name__)

_TRIED = 100
"""Maximum number of samples to try, until one is readable, before a run starts."""
_SPOILT = 4
"""Number of samples spoiled by augmentation, without a usable one before, after which a run is refused."""


@dataclass(frozen=True)
class PreparedRun:
    """Run ready to train: its model and data, folder, trainer and origin."""

    built: Built
    directory: RunDirectory
    device: torch.device
    trainer: Trainer
    origin: Origin

    @property
    def recipe(self) -> Recipe:
        return self.built.recipe


def prepare(recipe: Recipe, path: Path, *, show: bool = True, initialise: bool = True) -> PreparedRun:
    """Build all parts of a run without writing anything. Sets the number of torch's threads.

    Args:
        recipe: resolved.
        path: the run directory, existing or not.
        show: whether training shows its progress on stderr.
        initialise: whether to apply the recipe's ``init``, if any; unnecessary before loading a checkpoint.

    Raises:
        UserError: the parts do not fit, the data are missing or unreadable, or the device is unavailable.
    """
    ranks, directory = current(), RunDirectory(path)
    with ranks.together():
        device = choose_device(recipe.device, ranks)
        torch.set_num_threads(choose_threads(recipe.train.threads, recipe.train.workers, _threads(directory)))
        built = dataclasses.replace(build(recipe, initialise=initialise), recorded_tokens=recorded_tokens(directory))
        check_data(built, ranks.world)
        check_model(built)
        load_renderers(recipe)
        origin = origin_of(recipe)
        scored = _scored(built)
        _tell_rate(recipe.train)
    shares: Any = {"device": device.type, "rank": ranks.rank, "world": ranks.world}
    with ranks.together():
        validation = (lambda: built.validation_batches(**shares, num_samples=scored.samples)) if scored.held_out else None
        data = TrainingData(
            lambda cursor, step: built.loader(cursor, step, **shares),
            validation,
            num_samples=len(built.train_indices),
            max_bad=recipe.data.options.max_bad,
            left_out=built.left_out,
            baselines=lambda: unigram_scores(built, scored.samples),
            scored=scored if scored.held_out else None,
            slots_per_token=partial(slots_per_token, built.model) if costs_more(built.model, built.pipeline) else None,
        )
        notes, plugins = origin.files(), plugin_versions(recipe)
        place = RunContext(directory, device, recipe.seed, ranks=ranks, plugins=plugins, notes=notes, show=show)
        trainer = Trainer(built.model, data, recipe.train, place)
    return PreparedRun(built, directory, device, trainer, origin)


def _scored(built: Built) -> Scored:
    scored = built.scored
    if scored.samples < scored.held_out:
        share = built.recipe.train.validate_share
        logger.info("validations score %s, to take at most %s of the run (train.validate_share)", scored, share)
    return scored


def _tell_rate(train: TrainConfig) -> None:
    if (line := rate_by_batch(train)) is not None:
        logger.info("peak learning rate %s (train.base_lr)", line)


def _threads(directory: RunDirectory) -> int | None:
    """Return the number of threads at the start of a run; None for a new run."""
    try:
        return int(json.loads(directory.environment.read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def start(recipe: Recipe, path: Path, *, show: bool = True) -> PreparedRun:
    """Create a new run: validate all of its input, then create its folder with ``recipe.yaml`` and ``environment.json``.

    Raises:
        UserError: the input is invalid, or the folder is not empty; nothing was written.
        RunStopped: the folder cannot be written.
    """
    ranks = current()
    with ranks.together():
        RunDirectory(path).check_new()
    recipe = with_absolute_paths(recipe)
    run = prepare(recipe, path, show=show)
    if ranks.is_first:
        for oddity in oddities(run.built):
            logger.warning("%s", oddity)
    about = {
        "data": data_record(run.built),
        "components": components_by_distribution(recipe),
        **tokens_record(run.built, run.device.type),
        **run.origin.record(),
    }
    ranks.first(lambda: run.directory.create(run.origin.recipe, plugin_versions(recipe), about))
    return run


def first_sample(built: Built) -> Sample:
    """Return the first readable training sample.

    Raises:
        UserError: none of the first hundred is readable.
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
    raise UserError(f"data: {count} is readable:{shown}" + ("\n  ..." if len(reasons) > 3 else "") + _fields_hint(built))


def _fields_hint(built: Built) -> str:
    """Return the override to write if samples have none of the fields of a modality."""
    dataset = built.dataset.dataset if isinstance(built.dataset, SampleParts) else built.dataset
    try:
        known = sorted(dataset[0])
    except (OSError, ValueError):
        return ""
    missing = [name for name, part in built.pipeline.modalities.items() if not {*names_of(part.field)} & {*known}]
    lines = [f"\nset the field of {name}: modalities.{name}.field=NAME; fields: {', '.join(known)}" for name in missing]
    return "".join(lines) if len(missing) == len(built.pipeline.modalities) else ""


def longest_sample(built: Built) -> list[Sample]:
    """Return the longest sample, if lengths differ and it is readable."""
    counts = built.counts
    if isinstance(counts, int) or not len(counts):
        return []
    index = int(counts.argmax())
    try:
        return [built.validation.sample(Place(0, 0, index, 0.0))]
    except (OSError, ValueError):
        return []


def check_data(built: Built, world: int = 1) -> None:
    """Read, mask and pack one sample, and determine the token counts.

    Raises:
        UserError: no sample is readable, its tokens cannot be masked as in the recipe, or a step may have no samples for one of
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


@torch.no_grad()
def check_model(built: Built) -> None:
    """Pass two samples through the model on the host: the first, and one of maximum length.

    This detects mismatched parts and tables that are too short before a run starts.

    Raises:
        UserError: a part rejects the output of another.
    """
    _check_training_sample(built)
    model = built.model
    is_training = model.training
    with torch.random.fork_rng(devices=[]), limited_memory():
        model.eval()
        try:
            for sample in (first_sample(built), *longest_sample(built)):
                model(built.validation.pack([sample]))
        except TooLarge as error:
            raise UserError(f"the model fails on a single sample: {error}") from error
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"the parts of the model do not fit together: {error}") from error
        finally:
            model.train(is_training)


def _check_training_sample(built: Built) -> None:
    """Create a training sample with augmentation. Unreadable ones are only counted, during the run.

    Numeric overflow or running out of memory means an option is out of range. An augmentation that spoils sample after sample is
    also an error.
    """
    spoilt: list[str] = []
    for index in built.train_indices[:_TRIED].tolist():
        place = Place(0, 0, index, 0.0)
        try:
            built.pipeline.sample(place)
        except (OSError, ValueError, MemoryError) as error:
            key = printable(built.dataset.key(index))
            if isinstance(error, MemoryError) or isinstance(error.__cause__, ArithmeticError):
                raise UserError(f"cannot make a training sample from {key}: an option is out of range: {error}") from error
            if _can_be_read(built, place):
                spoilt.append(f"{key}: {error}")
            if len(spoilt) == _SPOILT:
                reason = f"none of the first {_SPOILT} samples is usable after augmentation: {spoilt[0]}"
                raise UserError(f"{reason}; change the augmentation") from error
        else:
            return


def _can_be_read(built: Built, place: Place) -> bool:
    try:
        built.validation.sample(place)
    except (OSError, ValueError):
        return False
    return True


def data_record(built: Built) -> dict[str, Any]:
    """Return the ``data`` entry of ``environment.json``, used to refuse a resume on other data."""
    return {"fingerprint": built.dataset.fingerprint(), "format": FINGERPRINT_FORMAT, "samples": len(built.dataset)}


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Make the data's paths absolute, so later commands can run from another working directory."""
    dataset = recipe.data.dataset
    options = {name: value.expanduser().absolute() if isinstance(value, Path) else value for name, value in dataset.options.items()}
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, dataset=dataclasses.replace(dataset, options=options)))
