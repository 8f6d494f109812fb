"""From a recipe to a model and its data: builds every component with the context it needs, and checks that they fit."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from omnimask.component import Component, named
from omnimask.corruptors.per_modality import PerModality as PerModalityCorruptor
from omnimask.data.cache import code_digest
from omnimask.data.corpus import TrainingTokens
from omnimask.data.counts import token_counts
from omnimask.data.loader import Loader
from omnimask.data.order import stream_order
from omnimask.data.parts import Parts, list_parts
from omnimask.data.pipeline import ModalityPipeline, Pipeline, ViewPlan
from omnimask.data.planner import Cursor, Place, Planner
from omnimask.data.split import held_out, spread, whole_keys
from omnimask.errors import UserError
from omnimask.interfaces import (
    Context,
    Corpus,
    Corruptor,
    Dataset,
    Embedding,
    Initializer,
    JointMasker,
    MaskedBatch,
    Masking,
    Sample,
    Splits,
    Tokenizer,
    TokenSpec,
    View,
)
from omnimask.maskers.candidates import SPECIAL, Candidates
from omnimask.maskers.per_modality import PerModality as PerModalityMasker
from omnimask.model import MaskedModel, Pass, WeightedPredictor
from omnimask.recipe import PredictorConfig, Recipe
from omnimask.recipe.options import plain
from omnimask.recipe.text import inline

AUTO_MICRO_BATCH = {"cpu": 16_384, "cuda": 65_536, "mps": 16_384}
"""Tokens per forward pass when a recipe says ``auto``, by device type."""

_MAIN = "main"

AnswerStream: TypeAlias = Literal["context", "query"]
SampleCorruptor: TypeAlias = Callable[[Sample, Mapping[str, Masking]], View]


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A recipe's model and data.

    ``pipeline`` makes training batches; ``validation`` the same without augmentation, with masks that never change.
    """

    recipe: Recipe
    model: MaskedModel
    dataset: Dataset
    pipeline: Pipeline
    validation: Pipeline
    train_indices: NDArray[np.int64]
    validation_indices: NDArray[np.int64]

    @property
    def specs(self) -> Mapping[str, TokenSpec]:
        return self.pipeline.specs

    @property
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {name: part.tokenizer for name, part in self.pipeline.modalities.items()}

    @cached_property
    def counts(self) -> int | NDArray[np.int64]:
        """Tokens per sample before masking, by data set index."""
        if isinstance(self.dataset, Parts):
            return self.dataset.counts
        readers = self.pipeline.modalities
        return token_counts(self.dataset, None, tuple(readers.values()), options=reading_options(self.recipe, readers))

    def micro_batch_tokens(self, device: str) -> int:
        """Tokens per forward pass on a device type."""
        wanted = self.recipe.train.micro_batch_tokens
        return min(self.recipe.train.batch_tokens, AUTO_MICRO_BATCH.get(device, 16_384)) if wanted == "auto" else wanted

    def planner(self, device: str = "cpu") -> Planner:
        """Cuts the training samples into steps, and into micro-batches for a device type."""
        train, window = self.recipe.train, self.recipe.data.options.window
        order = stream_order(self.dataset, self.train_indices, self.recipe.seed, window)
        return Planner(order, self.counts, train.batch_tokens, self.micro_batch_tokens(device), train.steps)

    def loader(self, start: Cursor, first_step: int, *, device: str = "cpu", rank: int = 0, world: int = 1) -> Loader:
        """The training steps from ``first_step``, whose data start at ``start``."""
        train = self.recipe.train
        return Loader(
            self.pipeline,
            self.planner(device),
            workers=train.workers,
            start=start,
            first_step=first_step,
            last_step=train.steps - 1,
            rank=rank,
            world=world,
            pin_memory=device == "cuda",
        )

    def validation_batches(self, device: str = "cpu") -> Iterator[MaskedBatch]:
        """The held-out samples, the same batches with the same masks every time; unreadable ones are left out."""
        budget = self.micro_batch_tokens(device)
        pending: list[Place] = []
        tokens = 0
        for index in self.validation_indices.tolist():
            size = int(self.counts if isinstance(self.counts, int) else self.counts[index])
            if pending and tokens + size > budget:
                yield from _batch(self.validation, pending)
                pending, tokens = [], 0
            pending.append(Place(0, 0, index, 0.0))
            tokens += size
        if pending:
            yield from _batch(self.validation, pending)


def _batch(pipeline: Pipeline, places: Sequence[Place]) -> Iterator[MaskedBatch]:
    loaded = pipeline(places)
    for bad in loaded.bad:
        logger.warning("held-out sample %s is left out: %s", bad.key, bad.reason)
    if loaded.batch is not None:
        yield loaded.batch


def build(recipe: Recipe, *, initialise: bool = True) -> Built:
    """Builds a recipe's model (its weights drawn from the recipe's seed) and data; writes nothing.

    Args:
        recipe: resolved.
        initialise: whether the recipe's ``init`` then replaces the weights; not where a checkpoint will.

    Raises:
        UserError: components do not fit each other, or the data are not there, or ``init``'s file does not fit the model.
    """
    parts = {name: read_part(recipe, name) for name in recipe.modalities}
    raw_specs = {name: part.tokenizer.spec for name, part in parts.items()}
    specs, corruptor, answers_in = build_corruptor(recipe, raw_specs)
    dataset = build_dataset(recipe, specs, parts)
    options = recipe.data.options
    train, validation = held_out(whole_keys(dataset), options.validation, recipe.seed)
    plain = {name: dataclasses.replace(part, augment=()) for name, part in parts.items()}
    reading = reading_options(recipe, parts)
    corpora = {name: TrainingTokens(dataset, part, train, reading) for name, part in plain.items()}
    views = {_MAIN: ViewPlan(build_masker(recipe, specs, corpora), corruptor)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(recipe, specs, answers_in)
    if initialise and recipe.init is not None:
        tokenizers = {name: part.tokenizer for name, part in parts.items()}
        _initialise(model, recipe.init, Context(specs=specs, modalities=tuple(specs)), tokenizers)
    return Built(
        recipe,
        model,
        dataset,
        Pipeline(dataset, parts, views, specs, recipe.seed),
        Pipeline(dataset, plain, views, specs, recipe.seed, stage="validation"),
        train,
        spread(validation, options.max_validation),
    )


def _initialise(
    model: MaskedModel, component: Component[Initializer], context: Context, tokenizers: Mapping[str, Tokenizer]
) -> None:
    initializer = component(context)
    try:
        initializer(model, tokenizers)
    except ValueError as error:
        raise UserError(f"{component.where or 'init'}: {error}") from error


def build_dataset(recipe: Recipe, specs: Mapping[str, TokenSpec], readers: Mapping[str, ModalityPipeline]) -> Dataset:
    """A recipe's data set; where the tokenizer of its only modality splits, the samples are the parts.

    Raises:
        UserError: the data are not there, or empty.
    """
    component = recipe.data.dataset
    dataset: Dataset = component(Context(specs=specs, modalities=tuple(specs)))
    where = component.where or "data"
    if not len(dataset):
        raise UserError(f"{where}: the data set is empty")
    only = next(iter(readers.values()))
    if len(readers) > 1 or not isinstance(only.tokenizer, Splits):
        return dataset
    parts = Parts(dataset, only, list_parts(dataset, only, options=reading_options(recipe, readers)))
    if not len(parts):
        raise UserError(f"{where}: empty corpus: none of the {len(dataset)} samples holds anything")
    return parts


def reading_options(recipe: Recipe, readers: Mapping[str, ModalityPipeline]) -> str:
    """What decides how samples are read, beside the data set, as text."""
    options = [inline(plain([m.name, m.field, m.tokenizer, m.decoder])) for m in recipe.modalities.values()]
    components = [part for reader in readers.values() for part in (reader.tokenizer, reader.decoder) if part is not None]
    return "\n".join([*options, code_digest(*components)])


def read_part(recipe: Recipe, name: str) -> ModalityPipeline:
    """How one modality of a recipe is read."""
    config = recipe.modalities[name]
    context = Context(modalities=(name,))
    tokenizer = config.tokenizer(context)
    spec = dataclasses.replace(context, specs={name: tokenizer.spec})
    augment = tuple(component(spec) for component in config.augment)
    return ModalityPipeline(config.field, tokenizer, config.decoder(spec) if config.decoder else None, augment)


# ---- masking --------------------------------------------------------------------------------------------------------------------


def build_masker(recipe: Recipe, specs: Mapping[str, TokenSpec], corpora: Mapping[str, Corpus]) -> JointMasker:
    """The recipe's joint masker, or its modalities' own as one; special tokens are none of its candidates."""
    masker = _joint_masker(recipe, specs, corpora)
    return Candidates(masker, specs) if any(SPECIAL in spec.fields for spec in specs.values()) else masker


def _joint_masker(recipe: Recipe, specs: Mapping[str, TokenSpec], corpora: Mapping[str, Corpus]) -> JointMasker:
    if recipe.masker is not None:
        return recipe.masker(Context(specs=specs, modalities=tuple(specs), corpora=corpora))
    maskers = {}
    for name, config in recipe.modalities.items():
        assert config.masker is not None
        maskers[name] = config.masker(Context(specs=specs, modalities=(name,), corpora=corpora))
    return PerModalityMasker(maskers)


def build_corruptor(
    recipe: Recipe, specs: Mapping[str, TokenSpec]
) -> tuple[Mapping[str, TokenSpec], SampleCorruptor, Mapping[str, AnswerStream]]:
    """The specifications with the special tokens that corruptors ask for, the corruptor over whole samples, and the stream in
    which each modality is answered.

    Corruptors are built twice: their options say which special tokens they need, and they look up ids once those are reserved.
    """
    served: dict[str, Component[Corruptor]] = {}
    answers_in: dict[str, AnswerStream] = {}
    for name, config in recipe.modalities.items():
        component = config.corruptor or recipe.corruptor
        assert component is not None
        served[name] = component
        corruptor = component(Context(specs=specs, modalities=(name,)))
        answers_in[name] = corruptor.answers_in
        specs = {**specs, name: _with_specials(specs[name], corruptor)}
    if recipe.corruptor is not None and all(component is recipe.corruptor for component in served.values()):
        return specs, recipe.corruptor(Context(specs=specs, modalities=tuple(specs))), answers_in
    built = {name: component(Context(specs=specs, modalities=(name,))) for name, component in served.items()}
    return specs, PerModalityCorruptor(built), answers_in


def _with_specials(spec: TokenSpec, corruptor: Corruptor) -> TokenSpec:
    wanted = [name for name in corruptor.specials if name not in spec.special_ids]
    answers = [name for name in corruptor.specials[: corruptor.num_answers] if name not in spec.special_ids]
    return dataclasses.replace(spec, specials=(*spec.specials, *wanted), answers=len(answers))


# ---- model ----------------------------------------------------------------------------------------------------------------------


def build_model(recipe: Recipe, specs: Mapping[str, TokenSpec], answers_in: Mapping[str, AnswerStream]) -> MaskedModel:
    """Embeddings, encoder and predictors as one pass over one view."""
    names = tuple(specs)
    encoder = recipe.encoder(Context(specs=specs, modalities=names))
    embeddings = {name: _embedding(recipe, name, specs, encoder.width) for name in names}
    context = Context(
        specs=specs,
        modalities=names,
        width=encoder.width,
        depth=encoder.depth,
        summary=encoder.num_summary,
        embeddings={name: _as_embedding(part) for name, part in embeddings.items()},
    )
    predictors = {
        config.label: WeightedPredictor(_predictor(config, context, encoder.depth, answers_in), config.weight)
        for config in recipe.predictors
    }
    return MaskedModel([Pass(_MAIN, _MAIN, embeddings, encoder, predictors)], backbone=_MAIN)


def _embedding(recipe: Recipe, name: str, specs: Mapping[str, TokenSpec], width: int) -> nn.Module:
    default = named("embedding", "table" if specs[name].width is None else "linear")
    component: Component[nn.Module] = recipe.modalities[name].embedding or default
    embedding = component(Context(specs=specs, modalities=(name,), width=width))
    if not _as_embedding(embedding).is_local:
        raise UserError(
            f"{component.where or name}: embedding {component.name} mixes tokens, so hidden ones would leak into visible ones; "
            "it must run as a pass of its own over the clean tokens, which recipes cannot say yet"
        )
    return embedding


def _as_embedding(module: Any) -> Embedding:
    return module


def _predictor(config: PredictorConfig, context: Context, depth: int, answers_in: Mapping[str, AnswerStream]) -> Any:
    component = config.component
    where = component.where or f"predictor {config.label}"
    if config.layer is not None and not 1 <= config.layer <= depth:
        raise UserError(f"{where}: layer {config.layer} does not exist; the encoder has layers 1 to {depth}")
    reads = getattr(component.load(), "reads", None)
    for name in config.of:
        if reads != answers_in[name]:
            raise UserError(
                f"{where}: predictor {component.name} answers in the {reads} stream, and the corruptor of {name} puts its targets "
                f"into the {answers_in[name]} stream; {_REMEDY[answers_in[name]]}"
            )
    return component(dataclasses.replace(context, modalities=config.of, layer=config.layer, label=config.label))


_REMEDY = {
    "context": "use a predictor that answers in place, or a corruptor that removes hidden tokens (drop)",
    "query": "use a predictor with a decoder, or a corruptor that keeps hidden tokens' places (mask_token)",
}
