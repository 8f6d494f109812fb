"""Views with repetitions, targets everywhere, parts of the tokens: a micro-batch equals its samples one by one, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.columns.compared import differences
from tests.columns.test_mixes import (
    ID_CORRUPTORS,
    ID_MASKERS,
    PATCH_CORRUPTORS,
    PATCH_MASKERS,
    SPECS,
    OneByOne,
    check,
    checked,
    context,
    pipeline,
    samples_of,
)

from omnimask.columns import repeated
from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.corruptors.cluster_substitute import ClusterSubstitute
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.keep import Keep
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.corruptors.replace_units import ReplaceUnits
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.data.pipeline import ViewPlan
from omnimask.data.sample_columns import columns_of
from omnimask.errors import RunStopped
from omnimask.interfaces import Draw, FieldSpec, MaskedBatch, Masking, Sample, Stream, Tokens, View

IDS = context("ids")


def units(tmp_path: Path) -> Any:
    """``replace_units`` with a file of units of all classes and of every length up to five."""
    pool = {kind: [tuple(range(first, first + 1 + kind)) for first in range(5, 15)] for kind in range(4)}
    lines = [f"{kind}\t{' '.join(map(str, unit))}" for kind, units in pool.items() for unit in units]
    path = tmp_path / "units.txt"
    path.write_text("\n".join(["# omnimask units 1", "# vocabulary 30", f"# units {len(lines)}", *lines, ""]), encoding="ascii")
    return ReplaceUnits(IDS, field="phrase", units=path, same_length=True)


CORRUPTORS: Mapping[str, Callable[[Any], Any]] = {
    **ID_CORRUPTORS,
    "clusters": lambda c: ClusterSubstitute(c, clusters="random", num_clusters=4),
}


def masker_of(name: str) -> Any:
    return checked(PerModalityMasker({"ids": ID_MASKERS[name](IDS)}))


def packed(views: Mapping[str, ViewPlan], names: tuple[str, ...] = ("ids",)) -> tuple[list[Sample], MaskedBatch]:
    samples = samples_of(names)
    return samples, pipeline(names, views).pack(samples)


def streams(view: View) -> list[Stream]:
    return [view.context] if view.query is None else [view.context, view.query]


# ---- repeat


@pytest.mark.parametrize("corruptor", CORRUPTORS)
@pytest.mark.parametrize("masker", ["random", "span", "mixture of units and none"])
def test_repetitions_of_ids(masker: str, corruptor: str) -> None:
    check(("ids",), {"main": ViewPlan(masker_of(masker), CORRUPTORS[corruptor](IDS), "own", noise=True, repeat=3)})


@pytest.mark.parametrize("masker", PATCH_MASKERS)
@pytest.mark.parametrize("corruptor", ["bert", "drop", "sentinels", "one by one"])
def test_repetitions_of_several_modalities(masker: str, corruptor: str) -> None:
    maskers = {
        "ids": ID_MASKERS["units"](context("ids")),
        "patch": PATCH_MASKERS[masker](context("patch")),
        "pair": RandomMasker(context("pair"), ratio=0.5),
    }
    for shown in PATCH_CORRUPTORS.values():
        corruptors = {"ids": CORRUPTORS[corruptor](IDS), "patch": shown(context("patch")), "pair": MaskToken(context("pair"))}
        plan = ViewPlan(checked(PerModalityMasker(maskers)), PerModalityCorruptor(corruptors), noise=True, repeat=3)
        check(tuple(SPECS), {"main": plan})


def test_repetitions_of_replaced_units(tmp_path: Path) -> None:
    check(("ids",), {"main": ViewPlan(masker_of("random"), units(tmp_path), repeat=3)})


@pytest.mark.parametrize("corruptor", [BertCorruptor, Drop])
def test_the_first_repetition_is_the_view_without_and_the_others_draw_anew(corruptor: Any) -> None:
    once = ViewPlan(masker_of("random"), corruptor(IDS), "own", noise=True)
    views = {"once": once, "three": dataclasses.replace(once, repeat=3)}
    for sample in samples_of(("ids",)):
        alone, three = once(sample), views["three"](sample)
        later = [once.drawn(once.repetition(sample, i), once.masking(sample, i)) for i in (1, 2)]
        assert once.repetition(sample, 2).draw == sample.draw.at("view", "own", "repeat", 2)
        for own, joint, *others in zip(streams(alone), streams(three), *map(streams, later), strict=True):
            parts = [own, *others]
            ends = np.cumsum([part.layout.num_slots for part in parts])
            for part, end in zip(parts, ends.tolist(), strict=True):
                slots = slice(end - part.layout.num_slots, end)
                for name in ("source", "literal", "noise", "positions"):
                    assert np.array_equal(getattr(joint, name)[slots], getattr(part, name))
            assert np.array_equal(joint.targets.of, np.concatenate([part.targets.of for part in parts]))
        assert three.context.layout.parent.tolist() == [0, 0, 0]
        if three.query is not None:
            assert three.query.layout.parent.tolist() == [0, 1, 2]
        shares = [alone.hidden["ids"], *(view.hidden["ids"] for view in later)]
        assert three.hidden["ids"] == tuple(map(sum, zip(*shares, strict=True)))


def test_repetitions_are_sequences_of_their_sample() -> None:
    samples, batch = packed({"main": ViewPlan(masker_of("random"), Drop(IDS), repeat=3)})
    context, query = streams(batch.views["main"])
    assert context.layout.parent.tolist() == [number for number in range(len(samples)) for _ in range(3)]
    assert query.layout.parent.tolist() == list(range(3 * len(samples)))
    # A sample's tokens are shown or asked for once in each of its repetitions, all different.
    masked = [np.count_nonzero(np.asarray(sample.tokens["ids"].fields["special"]) == 0) for sample in samples]
    owner = np.repeat(query.layout.parent, query.layout.lengths)[query.targets.at[:, 0]]
    asked = [query.targets.of[owner == number].tolist() for number in range(3 * len(samples))]
    longest = int(np.argmax(masked))
    assert len({tuple(part) for part in asked[3 * longest : 3 * longest + 3]}) == 3


def test_repeated_columns_are_the_samples_in_a_row() -> None:
    samples = samples_of(tuple(SPECS))
    columns = columns_of(samples, SPECS, {"year": FieldSpec("int64", arity=0)})
    for source in (columns, dataclasses.replace(columns, origin=None)):
        three = repeated(source.at("own"), 3, "repeat")
        changed = {name: dataclasses.replace(tokens, lengths=tokens.lengths) for name, tokens in three.tokens.items()}
        for found in (three, dataclasses.replace(three, tokens=changed), three.at("more")):
            for number in range(3 * len(samples)):
                one, sample = found.sample(number), samples[number // 3]
                stage = ("own", "repeat", number % 3) if number % 3 else ("own",)
                assert one.draw in (sample.draw.at(*stage), sample.draw.at(*stage, "more"))
                assert not differences(dict(one.labels), dict(sample.labels))
                for name, tokens in sample.tokens.items():
                    fields = {field: one.tokens[name].fields[field] for field in tokens.fields}
                    assert not differences(tokens, dataclasses.replace(one.tokens[name], fields=fields))


def test_views_share_the_masking_of_each_repetition() -> None:
    calls: list[tuple[str, tuple[str | int, ...]]] = []

    class Counting(RandomMasker):
        def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
            calls.append((draw.key, draw.stage))
            return super().__call__(tokens, draw)

    masker = checked(PerModalityMasker({"ids": Counting(IDS, ratio=0.5)}))
    views = {
        "two": ViewPlan(masker, BertCorruptor(IDS), repeat=2),
        "three": ViewPlan(masker, Keep(IDS), repeat=3),
        "one": ViewPlan(masker, OneByOne(MaskToken(IDS))),
        "again": ViewPlan(masker, MaskToken(IDS), "again", repeat=2),
    }
    check(("ids",), views)
    samples = samples_of(("ids",))
    for pack in (pipeline(("ids",), views).pack, pipeline(("ids",), views).pack_each):
        calls.clear()
        batch = pack(samples)
        assert len(calls) == len(set(calls)) == (3 + 2) * len(samples)
        asked = {name: rows_of(view.context) for name, view in batch.views.items()}
        for number in range(len(samples)):
            three = asked["three"][3 * number : 3 * number + 3]
            assert asked["two"][2 * number : 2 * number + 2] == three[:2]
            assert asked["one"][number] == three[0]


def rows_of(stream: Stream) -> list[list[int]]:
    """The tokens that each sequence asks for."""
    sequence = np.searchsorted(stream.layout.offsets, np.asarray(stream.targets.at)[:, 0], side="right") - 1
    return [np.asarray(stream.targets.of)[sequence == number].tolist() for number in range(stream.layout.num_sequences)]


class HidesFields(MaskToken):
    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return dataclasses.replace(super().__call__(sample, masking), fields={"word": np.zeros(len(sample), np.int64)})


@pytest.mark.parametrize("kind", [HidesFields, lambda c: OneByOne(HidesFields(c))])
def test_fields_that_differ_between_repetitions_are_refused(kind: Any) -> None:
    views = {"main": ViewPlan(masker_of("random"), kind(IDS), repeat=2, origin="corruptor 'own'")}
    check(("ids",), views)
    with pytest.raises(RunStopped, match=r"corruptor 'own' changes the fields \['word'\].*remove repeat"):
        packed(views)


# ---- ask


KEEPING = ("bert", "mask_token", "keep", "substitute", "clusters", "swap", "one by one")


@pytest.mark.parametrize("corruptor", KEEPING)
def test_asking_for_all(corruptor: str) -> None:
    plan = ViewPlan(masker_of("scored"), CORRUPTORS[corruptor](IDS), noise=True, repeat=2, asks_all=True)
    check(("ids",), {"main": plan})
    for sample in samples_of(("ids",)):
        own, all_ = dataclasses.replace(plan, asks_all=False)(sample), plan(sample)
        special = np.asarray(sample.tokens["ids"].fields["special"], bool)
        assert rows_of(all_.context) == [np.flatnonzero(~special).tolist()] * 2
        assert np.array_equal(all_.context.source[all_.context.targets.at[:, 0]], all_.context.targets.of)
        assert np.array_equal(own.context.literal, all_.context.literal)
        assert own.hidden == all_.hidden


def test_asking_for_all_keeps_the_weights_and_the_answers_of_units(tmp_path: Path) -> None:
    plan = ViewPlan(masker_of("random"), units(tmp_path), asks_all=True)
    check(("ids",), {"main": plan})
    weighed = ViewPlan(checked(Weighing()), Keep(IDS), asks_all=True)
    check(("ids",), {"main": weighed})
    for sample in samples_of(("ids",)):
        table, before = plan(sample).context.targets, dataclasses.replace(plan, asks_all=False)(sample).context.targets
        index = np.zeros(len(table), np.int64) if table.index is None else table.index
        count = int(np.count_nonzero(index < 0))
        assert count == int(np.count_nonzero(before.of < 0)) and np.all(index[len(index) - count :] < 0)
        assert table.literal[index < 0].tolist() == before.literal[before.of < 0].tolist()
        one = weighed(sample).context.targets
        # Special tokens are no candidates: the masker weighs the others by their number among these.
        assert one.weight.tolist() == list(range(len(one)))


class Weighing:
    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        return {
            name: Masking(np.ones(len(t), bool), np.zeros(len(t), bool), weight=np.arange(len(t), dtype=np.float32))
            for name, t in sample.tokens.items()
        }


@pytest.mark.parametrize("corruptor", ["drop", "sentinels", "unit_token"])
def test_tokens_without_a_slot_cannot_be_asked_for(corruptor: str) -> None:
    views = {"main": ViewPlan(masker_of("random"), CORRUPTORS[corruptor](IDS), asks_all=True, origin="corruptor 'own'")}
    check(("ids",), views)
    with pytest.raises(RunStopped, match=r"ask: all needs a slot for every token, but corruptor 'own' gives \d+ of \d+"):
        packed(views)


# ---- of


def joint_plan(corruptor: Any, **keys: Any) -> ViewPlan:
    parts = {name: RandomMasker(context(name), ratio=0.5) for name in SPECS}
    return ViewPlan(checked(PerModalityMasker(parts)), corruptor, noise=True, **keys)


def mixed() -> PerModalityCorruptor:
    """Answers in both streams, and a causal query."""
    parts = {"ids": CORRUPTORS["sentinels"](IDS), "patch": Drop(context("patch")), "pair": MaskToken(context("pair"))}
    return PerModalityCorruptor(parts)


@pytest.mark.parametrize("of", [("ids",), ("patch",), ("pair", "ids"), tuple(SPECS)])
@pytest.mark.parametrize("corruptor", [lambda: Drop(context(*SPECS)), mixed, lambda: OneByOne(MaskToken(context(*SPECS)))])
def test_some_of_the_modalities(corruptor: Any, of: tuple[str, ...]) -> None:
    plan = joint_plan(corruptor(), of=of, repeat=2)
    check(tuple(SPECS), {"main": plan})
    whole = dataclasses.replace(plan, of=())
    numbers = [list(SPECS).index(name) for name in of]
    for sample in samples_of(tuple(SPECS)):
        some, every = plan(sample), whole(sample)
        assert some.context.layout.parent.tolist() == [0, 0]
        assert some.hidden.keys() == {name for name in of if name in sample.tokens}
        for part, full in zip(streams(some), streams(every), strict=True):
            kept = np.isin(full.modality, numbers)
            for name in ("source", "literal", "positions", "rank", "noise"):
                assert np.array_equal(getattr(part, name), getattr(full, name)[kept])
            rows = kept[full.targets.at[:, 0]]
            assert np.array_equal(part.targets.of, full.targets.of[rows])
            assert np.array_equal(np.flatnonzero(kept)[part.targets.at[:, 0]], full.targets.at[rows, 0])
        if not any(name in of for name in sample.tokens):
            assert some.context.layout.lengths.tolist() == [0, 0]


# ---- split


@pytest.mark.parametrize("corruptor", [*KEEPING, "drop", "drop some"])
def test_runs_of_a_field_are_sequences(corruptor: str) -> None:
    plan = ViewPlan(masker_of("random"), CORRUPTORS[corruptor](IDS), noise=True, repeat=2, split="word")
    check(("ids",), {"main": plan})
    for sample in samples_of(("ids",)):
        parts, whole = plan(sample), dataclasses.replace(plan, split=None)(sample)
        word = np.asarray(sample.tokens["ids"].fields["word"])
        borders = np.flatnonzero(np.diff(word)) + 1
        runs = np.split(np.arange(len(word)), borders)
        context = parts.context
        assert context.layout.num_sequences == 2 * len(runs)
        assert context.layout.parent.tolist() == [0] * (2 * len(runs))
        shown = np.split(context.source, context.layout.offsets[1:-1])
        for run, tokens in zip([*runs, *runs], shown, strict=True):
            assert tokens.tolist() == [token for token in run.tolist() if token in set(tokens.tolist())]
        for part, full in zip(streams(parts), streams(whole), strict=True):
            assert np.array_equal(part.source, full.source) and np.array_equal(part.noise, full.noise)
            assert np.array_equal(part.positions, full.positions) and np.array_equal(part.literal, full.literal)
            assert np.array_equal(part.targets.of, full.targets.of)
            assert np.array_equal(part.targets.at, full.targets.at)
        if parts.query is not None:
            # Each query belongs to the context of its run, even if the run is hidden.
            run_of = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
            wanted = run_of[parts.query.source]
            parent = np.repeat(parts.query.layout.parent, parts.query.layout.lengths)
            assert np.array_equal(parent % len(runs), wanted)


def test_runs_of_one_of_several_modalities() -> None:
    for corruptor in (Drop(context(*SPECS)), MaskToken(context(*SPECS))):
        plan = joint_plan(corruptor, of=("ids",), split="phrase")
        check(tuple(SPECS), {"main": plan, "more": dataclasses.replace(plan, repeat=3)})
        for sample in samples_of(tuple(SPECS)):
            if "ids" not in sample.tokens or not len(sample.tokens["ids"]):
                assert plan(sample).context.layout.lengths.tolist() == [0]


@pytest.mark.parametrize("corruptor", ["sentinels", "sketch"])
def test_inserted_slots_cannot_be_split(corruptor: str) -> None:
    views = {"main": ViewPlan(masker_of("span"), CORRUPTORS[corruptor](IDS), split="word", origin="corruptor 'own'")}
    check(("ids",), views)
    with pytest.raises(RunStopped, match="split: word needs a token for every slot, but corruptor 'own' inserts slots into the"):
        packed(views)
