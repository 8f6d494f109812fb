"""Hiding of chosen tokens, for a network trained with any masker and corruptor. L tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from omnimask.builder.build import Built
from omnimask.builder.views import SampleCorruptor
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.data.pipeline import Pipeline
from omnimask.data.view_plan import ViewPlan
from omnimask.errors import UserError
from omnimask.interfaces import Context, Masking, Sample, TokenSpec

MASK = "mask"
"""Name of the special token that replaces a hidden one."""


def exact_corruptor(built: Built) -> SampleCorruptor:
    """Return a corruptor that shows nothing of hidden tokens.

    If answers are in place, it shows the mask token instead, regardless of the recipe's corruptor. If they are in a query stream,
    it is the recipe's own corruptor.

    Raises:
        UserError: answers are in place, and the recipe's corruptor has no mask token.
    """
    recipe, specs = built.recipe, built.specs
    own = next(iter(built.validation.views.values())).corruptor
    in_place: list[str] = []
    for name, config in recipe.modalities.items():
        component = config.corruptor or recipe.corruptor
        assert component is not None
        if component(Context(specs=specs, modalities=(name,))).answers_in == "context":
            in_place.append(name)
            if MASK not in (*specs[name].special_ids, *specs[name].specials):
                raise UserError(
                    f"modalities.{name}: corruptor {component.name} has no mask token, so tokens cannot be masked one by one"
                )
    if not isinstance(own, PerModalityCorruptor):
        return MaskToken(Context(specs=specs, modalities=tuple(specs))) if in_place else own
    masks = {name: MaskToken(Context(specs=specs, modalities=(name,))) for name in in_place}
    return PerModalityCorruptor({**own.corruptors, **masks})


class ShownMasks:
    """Masker that hides exactly the tokens shown as the tokenizer's own mask token, and makes them the targets."""

    def __init__(self, specs: Mapping[str, TokenSpec]) -> None:
        self.specs = specs

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        found: dict[str, Masking] = {}
        for name, tokens in sample.tokens.items():
            is_target = np.zeros(len(tokens), bool)
            if MASK in self.specs[name].special_ids:
                is_target = np.asarray(tokens.content) == self.specs[name].special_ids[MASK]
            found[name] = Masking(~is_target, is_target)
        return found


def shows_masks(sample: Sample, specs: Mapping[str, TokenSpec]) -> bool:
    """Return whether a sample shows the tokenizer's own mask token anywhere."""
    return any(np.asarray(masking.is_target).any() for masking in ShownMasks(specs)(sample).values())


def with_shown_masks(built: Built, pipeline: Pipeline) -> Pipeline:
    """Replace the recipe's masks of a pipeline by those shown in its samples.

    Raises:
        UserError: see :func:`exact_corruptor`.
    """
    plan = ViewPlan(ShownMasks(built.specs), exact_corruptor(built))
    views = {name: dataclasses.replace(plan, of=own.of, split=own.split) for name, own in pipeline.views.items()}
    return dataclasses.replace(pipeline, views=views)
