"""Maskers and corruptors with and without a whole-batch path mix in any combination, and every batch equals its samples."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from tests.columns.compared import differences

from omnimask.component import named
from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.corruptors.by_kind import ByKind
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.keep import Keep
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.corruptors.scheduled import ScheduledCorruptor
from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.components.corruptors.sketch import Sketch
from omnimask.components.corruptors.substitute import Substitute
from omnimask.components.corruptors.swap import Swap
from omnimask.components.corruptors.unit_token import UnitToken
from omnimask.components.maskers.annotated import AnnotatedMasker
from omnimask.components.maskers.candidates import Candidates
from omnimask.components.maskers.choose import ChooseMasker
from omnimask.components.maskers.grid import GridMasker
from omnimask.components.maskers.multi_block import MultiBlockMasker
from omnimask.components.maskers.none import NoMasker
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.scheduled import ScheduledMasker
from omnimask.components.maskers.scored import ScoredMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.components.maskers.units import UnitMasker
from omnimask.data.checked_masker import CheckedMasker
from omnimask.data.label_fields import LabelReader
from omnimask.data.pipeline import Pipeline, ViewPlan
from omnimask.data.sample_columns import columns_of
from omnimask.errors import RunStopped
from omnimask.interfaces import Context, Draw, FieldSpec, MaskedBatch, Masking, Sample, SampleColumns, Tokens, TokenSpec
from omnimask.interfaces.schedules import RatioSchedule
from omnimask.testing import make_tokens

FIELDS = {
    "special": FieldSpec("bool"),
    "word": FieldSpec("int64"),
    "score": FieldSpec("float32"),
    "bond": FieldSpec("int64", arity=2),
    "phrase": FieldSpec("int64"),
    "phrase.class": FieldSpec("int64", classes=4),
    "time": FieldSpec("float32"),
}
SENTINELS = tuple(f"sentinel_{number}" for number in range(40))
SPECS = {
    "ids": TokenSpec(
        vocabulary=30, special_ids={"pad": 0}, specials=("end", *SENTINELS, "start", "mask"), answers=41, fields=FIELDS
    ),
    "patch": TokenSpec(width=(2, 3), axes=2, extent=(9, 9), dtype="uint8", specials=("mask",)),
    "pair": TokenSpec(width=(3,), specials=("mask",), fields={"bond": FieldSpec("int64", arity=2)}),
}
RISING = RatioSchedule(schedule="linear", start=0.1, end=0.9)
LENGTHS = {"ids": 40, "patch": 50, "pair": 12}


class OneByOne:
    """A third party's component: it knows single samples only."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __call__(self, *arguments: Any) -> Any:
        return self.part(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name in ("mask_batch", "corrupt_batch", "part") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.part, name)


class Together:
    """A joint masker of single samples: what it hides of one modality depends on the others."""

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        found = {}
        for name, tokens in sample.tokens.items():
            is_target = sample.draw.uniform(len(tokens), "joint", name) < 1 / (1 + len(sample.tokens))
            found[name] = Masking(~is_target, is_target, weight=np.full(len(tokens), len(sample), np.float32), level=0.25)
        return found


def context(*names: str) -> Context:
    return Context(specs=SPECS, modalities=names)


def made(name: str, length: int, draw: Draw) -> Tokens:
    tokens = make_tokens(SPECS[name], length, draw)
    if name != "ids":
        return tokens
    word = np.cumsum(draw.uniform(len(tokens), "words") < 0.6) - 1
    is_special = draw.uniform(len(tokens), "special") < 0.15
    phrase = np.where(draw.uniform(len(tokens), "phrases") < 0.5, word // 2, -1)
    time = np.where(draw.uniform(len(tokens), "times") < 0.6, np.nan, word // 3).astype(np.float32)
    own = {"word": np.where(is_special, -1, word), "special": is_special, "phrase": phrase, "time": time}
    return dataclasses.replace(tokens, fields={**tokens.fields, **own})


def samples_of(names: tuple[str, ...], count: int = 23) -> list[Sample]:
    """Samples with any of the modalities, none of them in some; a quarter of the lengths is 0. Some are rows of a group."""
    rng, samples = np.random.default_rng(len(names)), []
    for number in range(count):
        held = [name for name in names if len(names) == 1 or rng.random() < 0.7] or [names[number % len(names)]]
        draw = Draw(3, number % 2, f"key '{number}", number, number / count, ("a", "b") if number % 3 else (), ("train",))
        draw = draw.at("row", 1) if number % 4 == 3 else draw
        sizes = {name: int(rng.integers(0, LENGTHS[name]) * (rng.random() < 0.75)) for name in held}
        tokens = {name: made(name, size, draw.at(name)) for name, size in sizes.items()}
        labels = {"year": np.int64(number)} if number % 2 else {}
        samples.append(Sample(tokens, draw, names, labels))
    return samples


def pipeline(names: tuple[str, ...], views: Mapping[str, ViewPlan]) -> Pipeline:
    specs = {name: SPECS[name] for name in names}
    year = LabelReader("year", FieldSpec("int64", arity=0, classes=30))
    return Pipeline(None, {}, views, specs, 0, labels={"year": year})  # pyright: ignore[reportArgumentType]


def check(names: tuple[str, ...], views: Mapping[str, ViewPlan]) -> None:
    made_of, samples = pipeline(names, views), samples_of(names)
    stored = dataclasses.replace(columns_of(samples, made_of.specs, made_of._label_specs), origin=None)
    for some in (samples, samples[:1], samples[5:6], [sample for sample in samples if not len(sample)]):
        if some:
            same_results(lambda some=some: made_of.pack(some), lambda some=some: made_of.pack_each(some))
    # Columns from storage, of which single samples are cut.
    same_results(lambda: made_of.pack_columns(stored), lambda: made_of.pack_each(samples))


def same_results(whole: Callable[[], MaskedBatch], each: Callable[[], MaskedBatch]) -> None:
    """Compare two batches, or the refusals of a combination that does not fit."""
    try:
        wanted = each()
    except RunStopped as error:
        with pytest.raises(RunStopped, match=re.escape(str(error))):
            whole()
    else:
        assert not differences(whole(), wanted)


def checked(masker: Any) -> Candidates:
    return Candidates(CheckedMasker(masker, {}), SPECS)


ID_MASKERS = {
    "random": lambda c: RandomMasker(c, ratio=RISING),
    "cells": lambda c: RandomMasker(c, ratio=0.4, unit=3),
    "units": lambda c: UnitMasker(c, ratio=RISING),
    "none": NoMasker,
    "span": lambda c: SpanMasker(c, ratio=0.3),
    "scored": lambda c: ScoredMasker(c, ratio=0.3, weighted=False),
    "one by one": lambda c: OneByOne(UnitMasker(c, ratio=0.4)),
    "mixture": lambda c: ChooseMasker(c, maskers=[named("masker", "units", ratio=0.3), named("masker", "span", ratio=0.5)]),
    "mixture of units and none": lambda c: ChooseMasker(
        c, maskers=[named("masker", "random", ratio=0.3), named("masker", "span", ratio=0.5)], weights=[1.0, 2.0]
    ),
    "annotated": lambda c: AnnotatedMasker(
        c, fields=["phrase", "time"], ratio=RISING, classes={"phrase": [1, 2]}, rest=named("masker", "units", ratio=0.3)
    ),
    "annotated, one of a span": lambda c: AnnotatedMasker(c, fields=["time"], ratio=0.5, per_span="one", share_of="tokens"),
    "annotated, any": lambda c: AnnotatedMasker(
        c, fields=["phrase"], ratio=0.5, per_span="any", inverse=True, fallback=named("masker", "random", ratio=0.2)
    ),
    "annotated, outside": lambda c: AnnotatedMasker(
        c, fields=["time"], ratio=0.5, inverse=True, rest=named("masker", "random", ratio=0.2)
    ),
    "curriculum": lambda c: ScheduledMasker(
        c, maskers=[named("masker", "random", ratio=0.2), named("masker", "random", ratio=0.6)], until=[0.4]
    ),
}
ID_CORRUPTORS = {
    "bert": BertCorruptor,
    "mask_token": MaskToken,
    "keep": Keep,
    "drop": Drop,
    "drop some": lambda c: Drop(c, ask=0.4),
    "substitute": Substitute,
    "swap": Swap,
    "sentinels": lambda c: SentinelSpans(c, num_sentinels=40),
    "sentinels at their places": lambda c: SentinelSpans(c, num_sentinels=40, renumber=False),
    "sketch": Sketch,
    "sketch at its places": lambda c: Sketch(c, renumber=False),
    "unit_token": UnitToken,
    "one by one": lambda c: OneByOne(MaskToken(c)),
    "by_kind": lambda c: ByKind(c, corruptors=[named("corruptor", "mask_token"), named("corruptor", "bert")]),
    "curriculum": lambda c: ScheduledCorruptor(
        c, corruptors=[named("corruptor", "keep"), named("corruptor", "unit_token")], until=[0.5]
    ),
}


@pytest.mark.parametrize(("masker", "corruptor"), list(product(ID_MASKERS, ID_CORRUPTORS)))
def test_one_modality(masker: str, corruptor: str) -> None:
    ids = context("ids")
    plan = ViewPlan(checked(PerModalityMasker({"ids": ID_MASKERS[masker](ids)})), ID_CORRUPTORS[corruptor](ids), noise=True)
    check(("ids",), {"main": plan})


PATCH_MASKERS = {
    "random": lambda c: RandomMasker(c, ratio=0.75),
    "grid": GridMasker,
    "one by one": lambda c: OneByOne(RandomMasker(c, ratio=0.5, unit=2)),
    "groups": lambda c: MultiBlockMasker(c, num_targets=2),
}
SOME_CORRUPTORS = ("bert", "drop", "sentinels", "unit_token", "one by one")
PATCH_CORRUPTORS = {"drop": Drop, "mask_token": MaskToken, "one by one": lambda c: OneByOne(Drop(c, ask=0.5))}


@pytest.mark.parametrize(
    ("masker", "corruptor", "of_patches", "shown"),
    list(product(["units", "one by one", "mixture"], SOME_CORRUPTORS, PATCH_MASKERS, PATCH_CORRUPTORS))[::7],  # every pair of two
)
def test_several_modalities(masker: str, corruptor: str, of_patches: str, shown: str) -> None:
    parts = {
        "ids": ID_MASKERS[masker](context("ids")),
        "patch": PATCH_MASKERS[of_patches](context("patch")),
        "pair": RandomMasker(context("pair"), ratio=0.5),
    }
    corruptors = {
        "ids": ID_CORRUPTORS[corruptor](context("ids")),
        "patch": PATCH_CORRUPTORS[shown](context("patch")),
        "pair": MaskToken(context("pair")),
    }
    check(tuple(SPECS), {"main": ViewPlan(checked(PerModalityMasker(parts)), PerModalityCorruptor(corruptors), noise=True)})


@pytest.mark.parametrize("corruptor", [Drop, MaskToken, Keep, lambda c: OneByOne(MaskToken(c)), lambda c: Drop(c, ask=0.3)])
@pytest.mark.parametrize("masker", ["joint", "own"])
def test_one_corruptor_for_all_modalities(masker: str, corruptor: Any) -> None:
    everything = context(*SPECS)
    own = PerModalityMasker({name: RandomMasker(context(name), ratio=0.5) for name in SPECS})
    plan = ViewPlan(checked(Together() if masker == "joint" else own), corruptor(everything))
    check(tuple(SPECS), {"main": plan})


def test_views_of_one_drawing_share_their_masking_and_others_draw_their_own() -> None:
    calls: list[str] = []

    class Counting(RandomMasker):
        def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
            calls.append(draw.key)
            return super().__call__(tokens, draw)

    ids = context("ids")
    masker = checked(PerModalityMasker({"ids": Counting(ids, ratio=0.5)}))
    views = {
        "main": ViewPlan(masker, BertCorruptor(ids)),
        "shown": ViewPlan(masker, Keep(ids)),
        "again": ViewPlan(masker, OneByOne(MaskToken(ids)), "again", noise=True),
        "other": ViewPlan(checked(PerModalityMasker({"ids": RandomMasker(ids, ratio=0.5)})), Drop(ids)),
    }
    check(("ids",), views)
    samples = samples_of(("ids",))
    for pack in (pipeline(("ids",), views).pack, pipeline(("ids",), views).pack_each):
        calls.clear()
        batch = pack(samples)
        assert len(calls) == 2 * len(samples)
        asked = {name: batch.views[name].context.targets.of.tolist() for name in ("main", "shown", "again")}
        assert asked["main"] == asked["shown"] != asked["again"]


def test_columns_cut_into_samples_are_the_samples() -> None:
    samples = samples_of(tuple(SPECS))
    columns = columns_of(samples, SPECS, {"year": FieldSpec("int64", arity=0)})
    cut = dataclasses.replace(columns, origin=None)
    for number, sample in enumerate(samples):
        again = cut.sample(number)
        assert (again.draw, again.modalities, list(again.tokens)) == (sample.draw, sample.modalities, list(sample.tokens))
        assert dict(again.labels) == dict(sample.labels)
        for name, tokens in sample.tokens.items():
            fields = {field: again.tokens[name].fields[field] for field in tokens.fields}
            assert not differences(tokens, dataclasses.replace(again.tokens[name], fields=fields))
        assert np.array_equal(again.positions, cut.positions[cut.owner == number][:, : again.positions.shape[1]])
        assert np.array_equal(again.modality, cut.modality[cut.owner == number])
    rows = np.array([1, 4, 5])
    part, _ = cut.take(rows, {name: _nothing(cut, name) for name in cut.tokens})
    assert [sample.draw.key for sample in part.samples] == [samples[row].draw.key for row in rows.tolist()]
    assert np.array_equal(part.positions, np.concatenate([cut.positions[cut.owner == row] for row in rows]))


def _nothing(columns: SampleColumns, name: str) -> Any:
    return NoMasker(Context()).mask_batch(columns.tokens[name])
