"""From a recipe to what is done to samples on the host: groups, maskers and corruptors of every view."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

from omnimask.component import Component, origin
from omnimask.components.corruptors.per_modality import PerModality as PerModalityCorruptor
from omnimask.components.maskers.candidates import Candidates
from omnimask.components.maskers.per_modality import PerModality as PerModalityMasker
from omnimask.data.border import CheckedMasker, joined
from omnimask.data.pipeline import Grouping, ViewPlan
from omnimask.interfaces import (
    SPECIAL,
    Context,
    Corpus,
    Corruptor,
    FieldSpec,
    JointMasker,
    Masker,
    Masking,
    Sample,
    TokenSpec,
    View,
)
from omnimask.recipe import Recipe
from omnimask.recipe.config import LabelConfig
from omnimask.recipe.optional_sections import MAIN

AnswerStream: TypeAlias = Literal["context", "query"]
SampleCorruptor: TypeAlias = Callable[[Sample, Mapping[str, Masking]], View]
Corpora: TypeAlias = Mapping[str, Corpus]


def build_views(
    recipe: Recipe,
    specs: Mapping[str, TokenSpec],
    corpora: Corpora,
    corruptors: Mapping[str, Callable[[Corpora], SampleCorruptor]],
) -> dict[str, ViewPlan]:
    """The main view and the further ones; what a view does not say is the main one's."""
    own = build_masker(recipe.masker, {name: config.masker for name, config in recipe.modalities.items()}, specs, corpora)
    main = joined(origin(config.corruptor or recipe.corruptor) for config in recipe.modalities.values())
    views = {MAIN: ViewPlan(own, corruptors[MAIN](corpora), origin=main)}
    for name, view in recipe.views.items():
        is_told = view.masker is not None or bool(view.maskers)
        masker = build_masker(view.masker, view.maskers, specs, corpora) if is_told else own
        own_origin = main if view.corruptor is None else origin(view.corruptor)
        views[name] = ViewPlan(masker, corruptors[name](corpora), view.draw, origin=own_origin)
    return views


def build_masker(
    joint: Component[JointMasker] | None,
    by_modality: Mapping[str, Component[Masker] | None],
    specs: Mapping[str, TokenSpec],
    corpora: Mapping[str, Corpus],
) -> JointMasker:
    """The joint masker, or the modalities' own as one; special tokens are none of its candidates."""
    if joint is not None:
        masker = joint(Context(specs=specs, modalities=tuple(specs), corpora=corpora))
    else:
        masker = PerModalityMasker({name: _masker(part, name, specs, corpora) for name, part in by_modality.items()})
    masker = CheckedMasker(masker, {name: origin(joint or by_modality.get(name)) for name in specs})
    return Candidates(masker, specs) if any(SPECIAL in spec.fields for spec in specs.values()) else masker


def _masker(part: Component[Masker] | None, name: str, specs: Mapping[str, TokenSpec], corpora: Mapping[str, Corpus]) -> Masker:
    assert part is not None
    return part(Context(specs=specs, modalities=(name,), corpora=corpora))


def build_corruptors(
    recipe: Recipe, specs: Mapping[str, TokenSpec]
) -> tuple[Mapping[str, TokenSpec], dict[str, Callable[[Corpora], SampleCorruptor]], dict[str, Mapping[str, AnswerStream]]]:
    """The specifications with the special tokens that corruptors ask for; by view, how the corruptor over whole samples is built
    where the training samples are known, and the stream in which each modality is answered.

    Corruptors are built twice: their options say which special tokens they need, and they look up ids once those are reserved, and
    learn from the training samples. The tokens that may be answers, of any corruptor of any view, come before all others.
    """
    served = {MAIN: {name: config.corruptor or recipe.corruptor for name, config in recipe.modalities.items()}}
    for view in recipe.views.values():
        served[view.name] = served[MAIN] if view.corruptor is None else dict.fromkeys(recipe.modalities, view.corruptor)
    answers_in: dict[str, Mapping[str, AnswerStream]] = {}
    for view, components in served.items():
        answers: dict[str, AnswerStream] = {}
        for name, component in components.items():
            assert component is not None
            corruptor: Corruptor = component(Context(specs=specs, modalities=(name,)))
            answers[name] = corruptor.answers_in
            specs = {**specs, name: _with_specials(specs[name], corruptor)}
        answers_in[view] = answers
    return specs, {view: partial(_over_samples, components, specs) for view, components in served.items()}, answers_in


def _over_samples(
    served: Mapping[str, Component[Corruptor] | None], specs: Mapping[str, TokenSpec], corpora: Corpora
) -> SampleCorruptor:
    """The one corruptor of all modalities, or the modalities' own as one."""
    first = next(iter(served.values()))
    assert first is not None
    if all(component is first for component in served.values()):
        return first(Context(specs=specs, modalities=tuple(specs), corpora=corpora))
    return PerModalityCorruptor(
        {
            name: component(Context(specs=specs, modalities=(name,), corpora=corpora))
            for name, component in served.items()
            if component is not None
        }
    )


def build_grouping(recipe: Recipe, specs: Mapping[str, TokenSpec], corpora: Mapping[str, Corpus]) -> Grouping:
    """The groups of the order, and what is done to them.

    Raises:
        UserError: a step cannot hold a group.
    """
    group = recipe.data.group
    labels = {name: label_spec(part) for name, part in recipe.labels.items()}
    context = Context(specs=specs, modalities=tuple(specs), labels=labels, corpora=corpora)
    return Grouping(group.size, None if group.transform is None else group.transform(context))


def label_spec(label: LabelConfig) -> FieldSpec:
    """What a label's values are."""
    return FieldSpec("float32" if label.classes is None else "int64", arity=0, classes=label.classes, names=label.names)


def _with_specials(spec: TokenSpec, corruptor: Corruptor) -> TokenSpec:
    """With what a corruptor needs beside what others needed before it."""
    earlier = spec.specials[: spec.answers]
    wanted = [name for name in corruptor.specials if name not in spec.special_ids]
    mine = [name for name in corruptor.specials[: corruptor.num_answers] if name not in spec.special_ids]
    answers = dict.fromkeys([*earlier, *mine])
    specials = dict.fromkeys([*answers, *spec.specials, *wanted])
    return dataclasses.replace(spec, specials=tuple(specials), answers=len(answers))
