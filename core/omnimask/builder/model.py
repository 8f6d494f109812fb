"""Construction of a recipe's model: networks, predictors and replacers, and the passes that use them, with compatibility checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from omnimask.builder.networks import as_embedding, build_networks
from omnimask.builder.views import AnswerStream, label_spec
from omnimask.data.view_names import MAIN
from omnimask.errors import UserError
from omnimask.interfaces import Context, EarlierPass, Encoder, Predictor, Replacer, TokenSpec
from omnimask.network.earlier import PassHandle, Requests
from omnimask.network.model import MaskedModel
from omnimask.network.passes import Pass, WeightedPredictor
from omnimask.recipe import PredictorConfig, Recipe
from omnimask.recipe.config import PassConfig

AnswersIn = Mapping[str, Mapping[str, AnswerStream]]


def build_model(recipe: Recipe, specs: Mapping[str, TokenSpec], answers_in: AnswersIn) -> MaskedModel:
    """Build the model of a recipe.

    Args:
        recipe: resolved.
        specs: of the modalities, with special tokens.
        answers_in: stream with the targets of each modality, by view.

    Raises:
        UserError: components do not fit each other.
    """
    return _Passes(recipe, specs, answers_in).model


class _Passes:
    def __init__(self, recipe: Recipe, specs: Mapping[str, TokenSpec], answers_in: AnswersIn) -> None:
        self.recipe, self.specs, self.answers_in = recipe, specs, answers_in
        self.networks = build_networks(recipe, specs)
        self.passes = passes_of(recipe)
        self.requests = {part.name: Requests() for part in self.passes}
        self.owners = {
            used.label: (part, used) for part in self.passes for used in part.predictors if isinstance(used, PredictorConfig)
        }
        self.predictors: dict[str, Predictor] = {}
        replacers: dict[str, Replacer] = {}
        for part in self.passes:
            if part.replace is not None:
                replacers[part.name] = part.replace(self._context(part))
            for used in part.predictors:
                if isinstance(used, PredictorConfig):
                    self.predictors[used.label] = self._predictor(part, used)
        for part in self.passes:
            self._check(part)
        built = [
            Pass(
                part.name,
                part.view,
                self.networks[part.encoder],
                {label: self._use(part, label) for label in labels_of(part)},
                part.grad,
                part.input,
                part.context,
                replacers.get(part.name),
                self.requests[part.name],
            )
            for part in self.passes
        ]
        backbone = recipe.backbone or MAIN
        self.model = MaskedModel(self.networks, built, backbone=backbone)

    def _context(self, part: PassConfig) -> Context:
        """Return the context of a pass's components."""
        network = self.networks[part.encoder]
        encoder = cast(Encoder, network.encoder)
        return Context(
            specs=self.specs,
            modalities=tuple(network.embeddings),
            width=encoder.width,
            depth=encoder.depth,
            summary=encoder.num_summary,
            embeddings={name: as_embedding(module) for name, module in network.embeddings.items()},
            labels={name: label_spec(label) for name, label in self.recipe.labels.items()},
            passes=self._earlier(part),
            networks=self.networks,
        )

    def _earlier(self, part: PassConfig) -> dict[str, EarlierPass]:
        """Return handles on the passes before one."""
        names = [one.name for one in self.passes]
        before = self.passes[: names.index(part.name)]
        return {
            one.name: PassHandle(one.name, one.view, self.networks[one.encoder], labels_of(one), self.requests[one.name])
            for one in before
        }

    def _check(self, part: PassConfig) -> None:
        """Note what a pass reads of earlier ones, and check that its own result is of use."""
        network = self.networks[part.encoder]
        shown = (self.recipe.views[part.view].of if part.view in self.recipe.views else ()) or tuple(self.specs)
        if missing := [name for name in shown if name not in network.embeddings]:
            raise UserError(
                f"passes.{part.name}: view {part.view} contains {missing[0]}, which network {part.encoder} does not embed; encode "
                f"a view with of: {list(network.embeddings)}"
            )
        for name in part.input:
            earlier = self._earlier(part)[name]
            if earlier.width != network.embedding_width:
                raise UserError(
                    f"passes.{part.name}.input: pass {name} has features of width {earlier.width}, but network {part.encoder} "
                    f"takes embeddings of width {network.embedding_width}; give both the same width"
                )
        for name in (*part.input, *(() if part.context is None else (part.context,))):
            self._earlier(part)[name].encoded()
        for label in labels_of(part):
            self._check_use(part, label)
        is_backbone = part.name == (self.recipe.backbone or MAIN)
        if not part.predictors and not is_backbone and not self._is_read(part):
            raise UserError(
                f"passes.{part.name}: nothing reads this pass; it has no predictors, and no later pass or target refers to it. "
                "Remove it, or add predictors"
            )

    def _is_read(self, part: PassConfig) -> bool:
        named = any(part.name in (*other.input, other.context) for other in self.passes)
        return named or self.requests[part.name].is_read

    def _check_use(self, part: PassConfig, label: str) -> None:
        """Check that a predictor of another pass answers in this one."""
        owner, config = self.owners[label]
        if owner.name == part.name:
            return
        predictor = self.predictors[label]
        mine, theirs = (cast(Encoder, self.networks[one.encoder].encoder).width for one in (part, owner))
        if mine != theirs:
            raise UserError(
                f"passes.{part.name}: predictor {label} of pass {owner.name} reads features of width {theirs}, but this pass has "
                f"width {mine}; write a predictor of its own here"
            )
        if config.query is None and predictor.reads not in self.answers_in[part.view].values():
            raise UserError(f"passes.{part.name}: predictor {label} has no targets in view {part.view}; choose other predictors")

    def _use(self, part: PassConfig, label: str) -> WeightedPredictor:
        owner, config = self.owners[label]
        prefix = "" if owner.name == part.name else f"{part.name}."
        return WeightedPredictor(self.predictors[label], config.weight, config.query, prefix)

    def _predictor(self, part: PassConfig, config: PredictorConfig) -> Predictor:
        component, context = config.component, self._context(part)
        where = component.where or f"predictor {config.label}"
        if config.layer is not None and not 1 <= config.layer <= context.depth:
            raise UserError(f"{where}: layer {config.layer} does not exist; the encoder has layers 1 to {context.depth}")
        if missing := [name for name in config.of if name not in context.modalities]:
            raise UserError(f"{where}: network {part.encoder} of pass {part.name} has no modality {missing[0]}; set of:")
        predictor = component(dataclasses.replace(context, modalities=config.of, layer=config.layer, label=config.label))
        reads = getattr(predictor, "reads", None)  # from the object: a wrapper reads the stream of its wrapped predictor
        if config.query is not None and reads != "query":
            raise UserError(f"{where}: predictor {component.name} does not decode a query stream; remove query: {config.query}")
        for name in config.of:
            found = self.answers_in[config.query or part.view][name]
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


def passes_of(recipe: Recipe) -> list[PassConfig]:
    """Return the passes in order, with the main one and its predictors in full."""
    main = PassConfig(MAIN, grad=True, predictors=recipe.predictors)
    in_full = {part.label: part for part in recipe.predictors}
    if all(part.name != MAIN for part in recipe.passes):
        return [*recipe.passes, main]
    return [
        part if part.name != MAIN else dataclasses.replace(part, predictors=tuple(_in_full(part.predictors, in_full)))
        for part in recipe.passes
    ]


def _in_full(used: Sequence[str | PredictorConfig], in_full: Mapping[str, PredictorConfig]) -> list[str | PredictorConfig]:
    """Replace labels of the recipe's own predictors, which belong to the main pass, by the predictors."""
    return [in_full.get(one, one) if isinstance(one, str) else one for one in used]


def labels_of(part: PassConfig) -> list[str]:
    """Return the labels of a pass's predictors."""
    return [one if isinstance(one, str) else one.label for one in part.predictors]


def views_with_noise(model: MaskedModel) -> set[str]:
    """Return the names of the views whose slots need a uniform number each, for random draws on the device."""
    drawn = {
        used.query or part.view
        for part in model.each()
        for used in part.uses.values()
        if getattr(used.predictor, "needs_noise", False)
    }
    return drawn | {part.view for part in model.each() if getattr(part.replace, "needs_noise", False)}


_REMEDY = {
    "context": "use a predictor without a decoder, or a corruptor that removes masked tokens (drop)",
    "query": "use a predictor with a decoder, or a corruptor that keeps masked tokens (mask_token)",
}
