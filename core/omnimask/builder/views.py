"""Construction of the host components for samples: groups, and maskers and corruptors of every view."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from omnimask.component import Component, origin
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.maskers.candidates import Candidates
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.data.border import joined
from omnimask.data.checked_masker import CheckedMasker
from omnimask.data.pipeline import Grouping
from omnimask.data.view_names import MAIN
from omnimask.data.view_plan import ViewPlan
from omnimask.errors import UserError
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
from omnimask.messages.hints import listed
from omnimask.recipe import Recipe
from omnimask.recipe.config import LabelConfig, ViewConfig

AnswerStream: TypeAlias = Literal["context", "query"]
SampleCorruptor: TypeAlias = Callable[[Sample, Mapping[str, Masking]], View]
Corpora: TypeAlias = Mapping[str, Corpus]


def build_views(
    recipe: Recipe,
    specs: Mapping[str, TokenSpec],
    corpora: Corpora,
    corruptors: Mapping[str, Callable[[Corpora], SampleCorruptor]],
) -> dict[str, ViewPlan]:
    """Build the main view and the others. A view inherits unspecified parts from the main one.

    Raises:
        UserError: a view is split by a field that its modalities lack, or asks for tokens that it removes.
    """
    own = build_masker(recipe.masker, {name: config.masker for name, config in recipe.modalities.items()}, specs, corpora)
    main = joined(origin(config.corruptor or recipe.corruptor) for config in recipe.modalities.values())
    repeats = repeats_of(recipe)
    views: dict[str, ViewPlan] = {}
    for view in (recipe.views.get(MAIN, ViewConfig(MAIN)), *(view for name, view in recipe.views.items() if name != MAIN)):
        is_told = view.masker is not None or bool(view.maskers)
        masker = build_masker(view.masker, view.maskers, specs, corpora) if is_told else own
        own_origin = main if view.corruptor is None else origin(view.corruptor)
        _check_split(view, specs)
        views[view.name] = ViewPlan(
            masker,
            corruptors[view.name](corpora),
            view.draw,
            origin=own_origin,
            repeat=repeats[view.name],
            asks_all=view.ask == "all",
            of=view.of,
            split=view.split,
        )
    return views


def repeats_of(recipe: Recipe) -> dict[str, int]:
    """Return the number of maskings of a sample in each view. A decoded view repeats as the main one by default."""
    main = (recipe.views[MAIN].repeat if MAIN in recipe.views else None) or 1
    decoded = {predictor.query for predictor in recipe.every_predictor}
    return {MAIN: main} | {
        name: view.repeat or (main if name in decoded else 1) for name, view in recipe.views.items() if name != MAIN
    }


def _check_split(view: ViewConfig, specs: Mapping[str, TokenSpec]) -> None:
    """Raise ``UserError`` for a view split by something other than an integer field of the tokens of all its modalities."""
    for name in () if view.split is None else view.of or specs:
        fields = specs[name].fields
        fitting = [
            key for key, field in fields.items() if field.arity == 1 and not field.shape and np.dtype(field.dtype).kind in "iub"
        ]
        if view.split not in fitting:
            known = listed(fitting) if fitting else "none"
            remedy = "" if len(specs) == 1 or view.name == MAIN else "; of: restricts the view to modalities that have it"
            raise UserError(
                f"views.{view.name}.split: the tokens of {name} have no integer field {view.split!r}; such fields: {known}{remedy}"
            )


def build_masker(
    joint: Component[JointMasker] | None,
    by_modality: Mapping[str, Component[Masker] | None],
    specs: Mapping[str, TokenSpec],
    corpora: Mapping[str, Corpus],
) -> JointMasker:
    """Build the joint masker, or combine the modalities' own. Special tokens are never candidates."""
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
    """Collect the special tokens of corruptors, and prepare the corruptors of each view.

    Return the specifications with the special tokens, and by view the factory of the corruptor over whole samples and the answer
    stream of each modality. The factory is called once the training samples are known.

    Corruptors are built twice. The first time, their options determine the special tokens they need. The second time, these are
    reserved: corruptors look up ids and learn from the training samples. Possible answers, of any corruptor of any view, come
    before all other special tokens.

    Raises:
        UserError: a view asks for all tokens, but its corruptor removes some.
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
            if view in recipe.views and recipe.views[view].ask == "all" and corruptor.answers_in == "query":
                raise UserError(
                    f"views.{view}.ask: the corruptor {component.name} removes masked tokens of {name}, so they cannot be asked "
                    "for in place; use a corruptor that keeps them (mask_token), or remove ask"
                )
            specs = {**specs, name: _with_specials(specs[name], corruptor)}
        answers_in[view] = answers
    return specs, {view: partial(_over_samples, components, specs) for view, components in served.items()}, answers_in


def _over_samples(
    served: Mapping[str, Component[Corruptor] | None], specs: Mapping[str, TokenSpec], corpora: Corpora
) -> SampleCorruptor:
    """Build the shared corruptor of all modalities, or combine the modalities' own."""
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
    """Build the groups of the order and their transform.

    Raises:
        UserError: a step cannot hold a group.
    """
    group = recipe.data.group
    labels = {name: label_spec(part) for name, part in recipe.labels.items()}
    context = Context(specs=specs, modalities=tuple(specs), labels=labels, corpora=corpora)
    return Grouping(group.size, None if group.transform is None else group.transform(context))


def label_spec(label: LabelConfig) -> FieldSpec:
    """Return the field specification of a label."""
    return FieldSpec("float32" if label.classes is None else "int64", arity=0, classes=label.classes, names=label.names)


def _with_specials(spec: TokenSpec, corruptor: Corruptor) -> TokenSpec:
    """Add the special tokens of a corruptor after those of earlier ones."""
    earlier = spec.specials[: spec.answers]
    wanted = [name for name in corruptor.specials if name not in spec.special_ids]
    mine = [name for name in corruptor.specials[: corruptor.num_answers] if name not in spec.special_ids]
    answers = dict.fromkeys([*earlier, *mine])
    specials = dict.fromkeys([*answers, *spec.specials, *wanted])
    return dataclasses.replace(spec, specials=tuple(specials), answers=len(answers))
