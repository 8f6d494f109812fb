"""Construction of the model and data of a recipe: builds every component with its context, and checks their compatibility."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from omnimask.builder.allocation import TooLarge, build_within
from omnimask.builder.micro_batches import TokenCost, measure_token_cost, slot_budget
from omnimask.builder.model import build_model, views_with_noise
from omnimask.builder.reading import check_held, parts_of, reading_options
from omnimask.builder.token_fields import fields_read
from omnimask.builder.views import AnswerStream, build_corruptors, build_grouping, build_views, label_spec
from omnimask.builder.withheld import check_withheld
from omnimask.component import Component, origin
from omnimask.data.corpus import TrainingTokens
from omnimask.data.label_fields import LabelReader
from omnimask.data.loader import Loader
from omnimask.data.order import stream_order
from omnimask.data.pipeline import ModalityPipeline, Pipeline
from omnimask.data.planner import Cursor, Place, Planner
from omnimask.data.sample_parts import SampleParts
from omnimask.data.token_counts import token_counts
from omnimask.data.training_indices import TrainingIndices
from omnimask.data.validation_split import split_samples, spread
from omnimask.errors import UserError
from omnimask.interfaces import (
    Context,
    Dataset,
    HoldsTokens,
    Initializer,
    LeavesOutFields,
    MaskedBatch,
    Splits,
    Tokenizer,
    TokenSpec,
)
from omnimask.messages.printable import printable
from omnimask.network.model import MaskedModel
from omnimask.recipe import Recipe
from omnimask.recipe.number_limits import check_numbers
from omnimask.registry import plugin_files
from omnimask.training.validation import Scored
from omnimask.training.validation_cost import num_scored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """Model and data of a recipe.

    ``pipeline`` makes training batches; ``validation`` has no augmentation, and its masks never change.
    """

    recipe: Recipe
    model: MaskedModel
    dataset: Dataset
    pipeline: Pipeline
    validation: Pipeline
    train_indices: TrainingIndices
    validation_indices: NDArray[np.int64]
    left_out: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Reasons by key of the unreadable held-out samples so far."""
    recorded_tokens: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """Tokens of ``train.micro_batch_tokens: auto`` by device type, as recorded by the run that is continued."""

    @property
    def specs(self) -> Mapping[str, TokenSpec]:
        return self.pipeline.specs

    @property
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {name: part.tokenizer for name, part in self.pipeline.modalities.items()}

    @cached_property
    def counts(self) -> int | NDArray[np.integer]:
        """Tokens per sample before masking, by data set index."""
        if isinstance(self.dataset, SampleParts | HoldsTokens):
            return self.dataset.counts
        readers = self.pipeline.modalities
        return token_counts(self.dataset, tuple(readers.values()), options=reading_options(self.recipe, readers))

    @cached_property
    def token_cost(self) -> TokenCost:
        """Memory that a token costs in training. Reads and masks a few samples if several views have gradients, or one repeats."""
        return measure_token_cost(self.model, self.pipeline, self.train_indices, self.recipe.train.steps)

    def auto_tokens(self, device: str) -> int:
        """Return the tokens per training micro-batch for ``train.micro_batch_tokens: auto`` on a device type.

        A recorded number applies; otherwise the device's budget is divided by :attr:`token_cost`.
        """
        recorded = self.recorded_tokens.get(device)
        return self.token_cost.divided(slot_budget(device)) if recorded is None else recorded

    def micro_batch_tokens(self, device: str) -> int:
        """Return the tokens per training micro-batch on a device type."""
        train = self.recipe.train
        return min(train.batch_tokens, self.auto_tokens(device)) if train.micro_batch_tokens == "auto" else train.micro_batch_tokens

    def inference_tokens(self, device: str) -> int:
        """Return the tokens per forward pass without gradients on a device type, for validation and evaluation.

        Not divided by :attr:`token_cost`: without a backward pass, activations are freed layer by layer, so several views need the
        memory of the largest, not of all. The budget is divided by the largest number of repetitions. Sums over batches depend on
        their bounds by rounding, so runs keep the bounds they began with.
        """
        train = self.recipe.train
        if train.micro_batch_tokens != "auto":
            return train.micro_batch_tokens
        most = max((plan.repeat for plan in self.validation.views.values()), default=1)
        return min(train.batch_tokens, max(1, slot_budget(device) // most))

    def planner(self, device: str = "cpu") -> Planner:
        """Return the planner that splits the training samples into steps, and into micro-batches for a device type."""
        train, window = self.recipe.train, self.recipe.data.options.window
        order = stream_order(self.dataset, self.train_indices, self.recipe.seed, window)
        grouping = self.pipeline.grouping
        budgets = (train.batch_tokens, self.micro_batch_tokens(device))
        return Planner(order, grown(self.counts, grouping.growth), *budgets, train.steps, group=grouping.size)

    def loader(
        self, start: Cursor | None = None, first_step: int = 0, *, device: str = "cpu", rank: int = 0, world: int = 1
    ) -> Loader:
        """Return the training steps from ``first_step``. Their data start at ``start``, by default at the beginning."""
        train = self.recipe.train
        return Loader(
            self.pipeline,
            self.planner(device),
            workers=train.workers,
            start=start or Cursor(),
            first_step=first_step,
            last_step=train.steps - 1,
            rank=rank,
            world=world,
            pin_memory=device == "cuda",
        )

    @cached_property
    def scored(self) -> Scored:
        """Number of held-out samples scored per validation of the run."""
        total = len(self.validation_indices)
        return Scored(num_scored(self.recipe.train, total, self.validation_tokens()) if total else 0, total)

    def validation_tokens(self, num_samples: int | None = None) -> int:
        """Return the tokens of the held-out samples, or of ``num_samples`` of them, before masking."""
        return int(np.sum(np.broadcast_to(self._validation_counts, len(self.dataset))[self._chosen(num_samples)]))

    def validation_batches(
        self, device: str = "cpu", rank: int = 0, world: int = 1, num_samples: int | None = None
    ) -> Iterator[MaskedBatch]:
        """Yield batches of the held-out samples, or of ``num_samples`` evenly spaced ones, without unreadable ones.

        The batches and their masks are the same every time. Each of several ranks gets every ``world``-th batch.
        """
        batches = self.validation_places(self.inference_tokens(device), num_samples)
        for places in itertools.islice(batches, rank, None, world):
            yield from self._batch(places)

    def _chosen(self, num_samples: int | None) -> NDArray[np.int64]:
        return self.validation_indices if num_samples is None else spread(self.validation_indices, num_samples)

    @property
    def _validation_counts(self) -> int | NDArray[np.integer]:
        return grown(self.counts, self.validation.grouping.growth)

    def _batch(self, places: Sequence[Place]) -> Iterator[MaskedBatch]:
        loaded = self.validation(places)
        for bad in loaded.bad:
            if bad.key not in self.left_out:
                self.left_out[bad.key] = bad.reason
                logger.warning("skipping held-out sample %s: %s", printable(bad.key), printable(bad.reason))
        if loaded.batch is not None:
            yield loaded.batch

    def validation_places(self, budget: int, num_samples: int | None = None) -> Iterator[list[Place]]:
        """Yield the places of each batch of held-out samples, of at most ``budget`` tokens unless one sample is larger."""
        grouping, counts = self.validation.grouping, self._validation_counts
        pending: list[Place] = []
        tokens = 0
        for position, index in enumerate(self._chosen(num_samples).tolist()):
            size = counts if isinstance(counts, int) else int(counts[index])
            if pending and tokens + size > budget and position % grouping.size == 0:
                yield pending
                pending, tokens = [], 0
            pending.append(Place(0, position, index, 0.0))
            tokens += size
        if pending:
            yield pending


def grown(counts: int | NDArray[np.integer], growth: float) -> int | NDArray[np.integer]:
    """Return the tokens per sample after a lengthening transform."""
    if growth == 1:
        return counts
    return math.ceil(counts * growth) if isinstance(counts, int) else np.ceil(counts * growth).astype(np.int64)


def build(recipe: Recipe, *, initialise: bool = True) -> Built:
    """Build a recipe's model (weights initialized from the recipe's seed) and data, without writing anything.

    Args:
        recipe: resolved.
        initialise: whether the recipe's ``init`` then replaces the weights; unnecessary before loading a checkpoint.

    Raises:
        UserError: components do not fit each other, the data are missing, or ``init``'s file does not fit the model.
    """
    plugin_files.use(recipe.plugins)
    check_numbers(recipe)
    parts = {name: read_part(recipe, name) for name in recipe.modalities}
    raw_specs = {name: part.tokenizer.spec for name, part in parts.items()}
    specs, corruptors, answers_in = build_corruptors(recipe, raw_specs)
    dataset = build_dataset(recipe, specs, parts)
    options = recipe.data.options
    train, validation = split_samples(dataset, options.validation, recipe.seed)
    plain = {name: dataclasses.replace(part, augment=()) for name, part in parts.items()}
    reading = reading_options(recipe, parts)
    corpora = {name: TrainingTokens(dataset, part, train, reading, name) for name, part in plain.items()}
    views = build_views(recipe, specs, corpora, corruptors)
    labels = {name: LabelReader(label.field, label_spec(label)) for name, label in recipe.labels.items()}
    grouping = build_grouping(recipe, specs, corpora)
    model = _seeded_model(recipe, specs, answers_in)
    check_withheld(model, views)
    views = {name: dataclasses.replace(plan, noise=name in views_with_noise(model)) for name, plan in views.items()}
    if initialise and recipe.init is not None:
        tokenizers = {name: part.tokenizer for name, part in parts.items()}
        _initialise(model, recipe.init, Context(specs=specs, modalities=tuple(specs)), tokenizers)
    source = origin(recipe.data.dataset)
    return Built(
        recipe,
        model,
        dataset,
        Pipeline(dataset, parts, views, specs, recipe.seed, "train", labels, grouping, source),
        Pipeline(dataset, plain, views, specs, recipe.seed, "validation", labels, grouping, source),
        train,
        spread(validation, options.max_validation),
    )


def _seeded_model(
    recipe: Recipe, specs: Mapping[str, TokenSpec], answers_in: Mapping[str, Mapping[str, AnswerStream]]
) -> MaskedModel:
    """Build the model with weights drawn from the recipe's seed.

    Raises:
        UserError: it does not fit into memory.
    """

    def make() -> MaskedModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed % 2**64)
            return build_model(recipe, specs, answers_in)

    try:
        model = build_within(make)
        model.settle()
        return model
    except TooLarge as error:
        raise UserError(f"{recipe.name}: the model does not fit in memory: {error}") from error


def _initialise(
    model: MaskedModel, component: Component[Initializer], context: Context, tokenizers: Mapping[str, Tokenizer]
) -> None:
    initializer = component(context)
    try:
        initializer(model, tokenizers)
    except ValueError as error:
        raise UserError(f"{component.where or 'init'}: {error}") from error
    model.settle()


@dataclass(frozen=True)
class BuiltModel:
    """Model of a recipe and the readers of its samples (``parts`` by modality, without augmentation), without data."""

    recipe: Recipe
    model: MaskedModel
    specs: Mapping[str, TokenSpec]
    parts: Mapping[str, ModalityPipeline]

    @property
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {name: part.tokenizer for name, part in self.parts.items()}

    def pipeline(self, dataset: Dataset) -> Pipeline:
        """Return a pipeline that reads samples of any data set, without views."""
        return Pipeline(dataset, self.parts, {}, self.specs, self.recipe.seed, "evaluation")


def build_without_data(recipe: Recipe) -> BuiltModel:
    """Build a recipe's model, with weights initialized from the recipe's seed. The data set may be missing.

    Raises:
        UserError: components do not fit each other.
    """
    plugin_files.use(recipe.plugins)
    check_numbers(recipe)
    parts = {name: dataclasses.replace(read_part(recipe, name), augment=()) for name in recipe.modalities}
    specs, _, answers_in = build_corruptors(recipe, {name: part.tokenizer.spec for name, part in parts.items()})
    return BuiltModel(recipe, _seeded_model(recipe, specs, answers_in), specs, parts)


def build_dataset(recipe: Recipe, specs: Mapping[str, TokenSpec], readers: Mapping[str, ModalityPipeline]) -> Dataset:
    """Build a recipe's data set. If the tokenizer of its only modality splits, the samples are the parts.

    Raises:
        UserError: the data are missing or empty.
    """
    component = recipe.data.dataset
    dataset: Dataset = component(Context(specs=specs, modalities=tuple(specs)))
    where = component.where or "data"
    if not len(dataset):
        raise UserError(f"{where}: the data set is empty")
    if isinstance(dataset, HoldsTokens):
        check_held(recipe, dataset, readers)
        return dataset
    only = next(iter(readers.values()))
    if len(readers) > 1 or not isinstance(only.tokenizer, Splits):
        return dataset
    parts = parts_of(recipe, dataset, only)
    if not len(parts):
        raise UserError(f"{where}: the corpus is empty: all of its {len(dataset)} samples are empty")
    return parts


def read_part(recipe: Recipe, name: str) -> ModalityPipeline:
    """Build the reader of one modality of a recipe."""
    config = recipe.modalities[name]
    context = Context(modalities=(name,))
    tokenizer: Tokenizer = config.tokenizer(context)
    if isinstance(tokenizer, LeavesOutFields) and (names := fields_read(recipe)) is not None:
        tokenizer = tokenizer.keeping(names)
    spec = dataclasses.replace(context, specs={name: tokenizer.spec})
    augment = tuple(component(spec) for component in config.augment)
    decoder = config.decoder(spec) if config.decoder else None
    return ModalityPipeline(config.field, tokenizer, decoder, augment, origin(config.tokenizer))
