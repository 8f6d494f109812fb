"""Construction of a recipe's model: embeddings, encoder and predictors, with compatibility checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from omnimask.builder.views import AnswerStream, label_spec
from omnimask.component import Component, named
from omnimask.data.view_names import MAIN
from omnimask.errors import UserError
from omnimask.interfaces import Context, Embedding, TokenSpec
from omnimask.network.model import MaskedModel
from omnimask.network.passes import Network, Pass, WeightedPredictor
from omnimask.recipe import PredictorConfig, Recipe
from omnimask.recipe.config import PassConfig


def build_model(
    recipe: Recipe, specs: Mapping[str, TokenSpec], answers_in: Mapping[str, Mapping[str, AnswerStream]]
) -> MaskedModel:
    """Build embeddings, encoder and predictors as a pass over the main view, and the earlier passes, which share them."""
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
        labels={name: label_spec(label) for name, label in recipe.labels.items()},
        passes={part.name: encoder.width for part in recipe.passes},
    )
    predictors = {
        config.label: WeightedPredictor(_predictor(config, context, encoder.depth, answers_in), config.weight, config.query)
        for config in recipe.predictors
    }
    network = Network(embeddings, encoder)
    earlier = [_earlier(part, network, predictors, answers_in) for part in recipe.passes]
    return MaskedModel({MAIN: network}, [*earlier, Pass(MAIN, MAIN, network, predictors)], backbone=MAIN)


def _earlier(
    part: PassConfig,
    network: Network,
    predictors: Mapping[str, WeightedPredictor],
    answers_in: Mapping[str, Mapping[str, AnswerStream]],
) -> Pass:
    """Build a pass without gradients from modules of the main pass, for answers only."""
    chosen = {label: predictors[label] for label in part.predictors}
    for label, wired in chosen.items():
        if wired.query is None and wired.predictor.reads not in answers_in[part.view].values():
            raise UserError(f"passes.{part.name}: predictor {label} has no targets in view {part.view}; choose other predictors")
    return Pass(part.name, part.view, network, chosen, grad=False)


def views_with_noise(model: MaskedModel) -> set[str]:
    """Return the names of the views whose slots need a uniform number each, for predictors with random draws on the device."""
    return {
        used.query or part.view
        for part in model.each()
        for used in part.uses.values()
        if getattr(used.predictor, "needs_noise", False)
    }


def _embedding(recipe: Recipe, name: str, specs: Mapping[str, TokenSpec], width: int) -> nn.Module:
    default = named("embedding", "table" if specs[name].width is None else "linear")
    component: Component[nn.Module] = recipe.modalities[name].embedding or default
    embedding = component(Context(specs=specs, modalities=(name,), width=width))
    if not _as_embedding(embedding).is_local:
        raise UserError(
            f"{component.where or name}: embedding {component.name} mixes tokens, so masked ones would leak into "
            "visible ones; it needs a separate pass over the clean tokens, which recipes do not support yet"
        )
    return embedding


def _as_embedding(module: Any) -> Embedding:
    return module


def _predictor(config: PredictorConfig, context: Context, depth: int, answers_in: Mapping[str, Mapping[str, AnswerStream]]) -> Any:
    component = config.component
    where = component.where or f"predictor {config.label}"
    if config.layer is not None and not 1 <= config.layer <= depth:
        raise UserError(f"{where}: layer {config.layer} does not exist; the encoder has layers 1 to {depth}")
    predictor = component(dataclasses.replace(context, modalities=config.of, layer=config.layer, label=config.label))
    reads = getattr(predictor, "reads", None)  # from the object: a wrapper reads the stream of its wrapped predictor
    if config.query is not None and reads != "query":
        raise UserError(f"{where}: predictor {component.name} does not decode a query stream; remove query: {config.query}")
    for name in config.of:
        found = answers_in[config.query or MAIN][name]
        if config.query is not None and found != "context":
            raise UserError(
                f"{where}: view {config.query} puts the targets of {name} into its query stream; a decoded view "
                "needs them in its context: use a corruptor that keeps masked tokens (mask_token)"
            )
        if config.query is None and reads not in (found, None) and not getattr(predictor, "answers_sequences", False):
            raise UserError(
                f"{where}: predictor {component.name} reads the {reads} stream, but the corruptor of {name} puts "
                f"its targets into the {found} stream; {_REMEDY[found]}"
            )
    return predictor


_REMEDY = {
    "context": "use a predictor without a decoder, or a corruptor that removes masked tokens (drop)",
    "query": "use a predictor with a decoder, or a corruptor that keeps masked tokens (mask_token)",
}
