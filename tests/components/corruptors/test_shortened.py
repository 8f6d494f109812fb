"""One slot for every hidden unit, with its tokens' answers and its own; a sketch, with the whole as its answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.corruptors.sketch import Sketch
from omnimask.components.corruptors.unit_token import UnitToken
from omnimask.data.collation import collate
from omnimask.interfaces import CONTENT, Context, Draw, Masking, Sample, TokenSpec
from omnimask.testing.corruptor import reserve
from omnimask.testing.samples import make_sample

from .views import built, masking_of, read, sample_of

SPEC = TokenSpec(vocabulary=20)


def units(length: int, *stretches: tuple[int, int]) -> np.ndarray:
    unit = np.full(length, -1)
    for number, (start, stop) in enumerate(stretches):
        unit[start:stop] = number
    return unit


def test_one_slot_for_every_ngram() -> None:
    """7 [1 2] 3 [4] [5 6 8]: three mask tokens; the answers are 1 2, 4, and 5 6 8, and the n-grams 30, 4 and 31."""
    corruptor, spec = built(UnitToken, SPEC)
    sample, unit = sample_of([7, 1, 2, 3, 4, 5, 6, 8]), units(8, (1, 3), (4, 5), (5, 8))
    entry = np.array([-1, 30, 30, -1, 4, 31, 31, 31])
    context = corruptor(sample, masking_of(8, [1, 2, 4, 5, 6, 7], unit=unit, entry=entry)).context
    mask = spec.id("mask")
    assert read(context, sample).tolist() == [7, mask, 3, mask, mask]
    assert context.positions[:, 0].tolist() == [0, 1, 2, 3, 4]
    table = context.targets
    assert table.at[:, 0].tolist() == [1, 1, 3, 4, 4, 4, 1, 3, 4]
    assert table.of.tolist() == [1, 2, 4, 5, 6, 7, -1, -1, -1]
    assert table.literal.tolist() == [-1] * 6 + [30, 4, 31]
    assert table.index is not None and table.index.tolist() == [0, 1, 0, 0, 1, 2, -1, -1, -1]


def test_positions_may_stay_with_the_tokens() -> None:
    context = built(UnitToken, SPEC, renumber=False)[0](sample_of(range(6)), masking_of(6, [1, 2, 3])).context
    assert context.positions[:, 0].tolist() == [0, 1, 4, 5]
    assert context.source.tolist() == [0, 1, 4, 5]


def test_units_without_a_name_or_not_wholly_asked_for_have_no_answer_of_their_own() -> None:
    unit = units(6, (0, 2), (2, 4), (4, 6))
    masking = masking_of(6, [0, 1, 2, 3, 4, 5], unit=unit, entry=np.array([-1, -1, 25, 25, 26, 26]))
    masking["m"] = Masking(masking["m"].is_visible, np.array([1, 1, 1, 1, 1, 0], bool), unit, entry=masking["m"].entry)
    table = built(UnitToken, SPEC)[0](sample_of(range(6)), masking).context.targets
    assert table.literal[table.of < 0].tolist() == [25]
    assert table.of[table.of >= 0].tolist() == [0, 1, 2, 3, 4]


def test_visible_tokens_may_be_asked_for() -> None:
    masking = {"m": Masking(np.array([True, False, False]), np.ones(3, bool))}
    table = built(UnitToken, SPEC)[0](sample_of([1, 2, 3]), masking).context.targets
    assert table.at[:, 0].tolist() == [0, 1, 1]
    assert table.index is not None and table.index.tolist() == [0, 0, 1]


def test_scattered_units_are_refused() -> None:
    with pytest.raises(ValueError, match="unit_token needs contiguous spans; a unit of this masker"):
        built(UnitToken, SPEC)[0](sample_of([1, 2, 3]), masking_of(3, [0, 2], unit=np.array([0, -1, 0])))


@given(st.lists(st.integers(0, 9), max_size=20), st.data())
def test_tokens_and_units_come_back_from_the_table(content: list[int], data) -> None:
    """What is visible, with the rows of each slot in the order of their index put in its place, is the sample."""
    number, unit = -1, []
    for _ in content:
        number += data.draw(st.booleans()) or number < 0
        unit.append(number)
    hidden_units = data.draw(st.sets(st.integers(0, max(number, 0))))
    hidden = [place for place, one in enumerate(unit) if one in hidden_units]
    sample = sample_of(content)
    masking = masking_of(len(content), hidden, unit=np.where(np.isin(unit, list(hidden_units)), unit, -1).astype(int))
    context = built(UnitToken, SPEC)[0](sample, masking).context
    assert context.layout.num_slots == len(content) - len(hidden) + len({unit[place] for place in hidden})
    restored = []
    for slot, literal in enumerate(context.literal.tolist()):
        rows = np.flatnonzero(context.targets.at[:, 0] == slot)
        if literal == CONTENT:
            restored.append(content[context.source[slot]])
        else:
            assert context.targets.index is not None
            restored += [content[of] for of in context.targets.of[rows[np.argsort(context.targets.index[rows])]]]
    assert restored == content


def test_packed_rows_of_units_stand_apart() -> None:
    """Two modalities, one of them without units: predictors of tokens take a span that holds no row of a unit."""
    specs = {"a": TokenSpec(vocabulary=20), "b": TokenSpec(vocabulary=9)}
    make = {"a": UnitToken, "b": MaskToken}
    specs = {m: reserve(spec, make[m](Context(specs=specs, modalities=(m,)))) for m, spec in specs.items()}
    corruptor = PerModalityCorruptor({m: make[m](Context(specs=specs, modalities=(m,))) for m in specs})
    samples, views = [], []
    for number, lengths in enumerate(({"a": 4, "b": 3}, {"b": 2}, {"a": 6})):
        sample = make_sample(specs, lengths, Draw(0, 0, str(number)))
        masking = {m: masking_of(length, range(length))["m"] for m, length in lengths.items()}
        if "a" in masking:
            place = np.arange(lengths["a"])
            masking["a"] = Masking(masking["a"].is_visible, masking["a"].is_target, place // 2, entry=40 + place // 2)
        samples.append(sample)
        views.append({"main": corruptor(sample, masking)})
    table = collate(samples, views, specs).views["main"].context.targets
    assert [table.rows(name) for name in "abc"] == [(0, 10), (10, 15), (0, 0)]
    assert [table.rows(name, units=True) for name in "abc"] == [(15, 20), (20, 20), (0, 0)]
    assert table.index is not None
    assert table.index[:10].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert table.literal[15:].tolist() == [40, 41, 40, 41, 42]
    assert (table.of[:15] >= 0).all() and (table.of[15:] < 0).all()


def test_only_batches_with_units_have_their_spans() -> None:
    spec = reserve(SPEC, UnitToken(Context(specs={"m": SPEC}, modalities=("m",))))
    corruptor = UnitToken(Context(specs={"m": spec}, modalities=("m",)))
    view = corruptor(sample_of([1, 2, 3]), masking_of(3, [1]))
    table = collate([sample_of([1, 2, 3])], [{"main": view}], {"m": spec}).views["main"].context.targets
    assert (table.rows("m"), table.rows("m", units=True)) == ((0, 1), (0, 0))


def written(view, sample: Sample) -> list[int]:
    """The ids of a sketch's answer."""
    table = view.query.targets
    assert table.at[:, 0].tolist() == list(range(len(table)))
    content = sample.tokens["m"].content
    return [int(content[of]) if of >= 0 else int(literal) for of, literal in zip(table.of, table.literal, strict=True)]


def test_every_gap_is_one_mask_token_and_the_answer_is_everything() -> None:
    corruptor, spec = built(Sketch, SPEC)
    sample = sample_of([5, 6, 7, 8, 9, 10])
    unit = np.array([0, 1, -1, 2, 2, -1])  # two units side by side are one gap
    view = corruptor(sample, masking_of(6, [0, 1, 3, 4], unit=unit))
    mask, start, end = (spec.id(name) for name in ("mask", "start", "end"))
    assert read(view.context, sample).tolist() == [mask, 7, mask, 10]
    assert view.context.positions[:, 0].tolist() == [0, 1, 2, 3]
    assert written(view, sample) == [5, 6, 7, 8, 9, 10, end]
    assert view.query is not None
    assert read(view.query, sample).tolist() == [start, 5, 6, 7, 8, 9, 10]
    assert view.query.layout.attention == "causal"


def test_what_frames_a_sample_is_read_and_not_written() -> None:
    corruptor, spec = built(Sketch, TokenSpec(vocabulary=20, special_ids={"mask": 3}), renumber=False)
    sample = sample_of([1, 6, 7, 2], special=[0, 3])
    view = corruptor(sample, masking_of(4, [1, 2]))
    assert read(view.context, sample).tolist() == [1, 3, 2]
    assert written(view, sample) == [6, 7, spec.id("end")]
    assert view.query is not None
    assert view.query.positions[:, 0].tolist() == [0, 1, 2]
    assert view.query.has_position.tolist() == [False, True, True]


@given(st.lists(st.integers(0, 9), max_size=20), st.data())
def test_gaps_never_touch(content: list[int], data) -> None:
    hidden = data.draw(st.sets(st.integers(0, max(len(content) - 1, 0))))
    sample = sample_of(content)
    corruptor, spec = built(Sketch, SPEC)
    view = corruptor(sample, masking_of(len(content), sorted(hidden)))
    is_mask = read(view.context, sample) == spec.id("mask")
    assert not np.any(is_mask[1:] & is_mask[:-1])
    assert read(view.context, sample)[~is_mask].tolist() == [c for place, c in enumerate(content) if place not in hidden]
    assert written(view, sample) == [*content, spec.id("end")]


def test_positions_along_two_axes_cannot_be_counted() -> None:
    for cls in (UnitToken, Sketch):
        with pytest.raises(ValueError, match="renumber needs one position axis, but 'm' has 2; set renumber: false"):
            built(cls, TokenSpec(vocabulary=3, axes=2))
