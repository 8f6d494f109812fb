"""Sentinel spans lose nothing: the shortened input and the answer give the original back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.interfaces import CONTENT, Context, Draw, Masking, Sample, Stream, Tokens, TokenSpec, View
from omnimask.testing.corruptor import reserve

VOCABULARY, SENTINELS = 9, 20
PLAIN = TokenSpec(vocabulary=VOCABULARY)
SPEC = reserve(PLAIN, SentinelSpans(Context(specs={"w": PLAIN}, modalities=("w",)), num_sentinels=SENTINELS))
CONTEXT = Context(specs={"w": SPEC}, modalities=("w",))
SENTINEL_IDS = [SPEC.id(f"sentinel_{i}") for i in range(SENTINELS)]


def sample(ids: list[int]) -> Sample:
    positions = np.arange(len(ids), dtype=np.float32)[:, None]
    return Sample({"w": Tokens(np.array(ids, np.int64), positions)}, Draw(0, 0, "s"), ("w",))


def masking(hidden: list[bool], unit: list[int] | None = None) -> dict[str, Masking]:
    is_target = np.array(hidden, bool)
    return {"w": Masking(~is_target, is_target, None if unit is None else np.array(unit, np.int64))}


def shown_ids(stream: Stream, ids: np.ndarray) -> list[int]:
    return [
        int(ids[source]) if literal == CONTENT else int(literal)
        for source, literal in zip(stream.source, stream.literal, strict=True)
    ]


def answer_ids(view: View, ids: np.ndarray) -> list[int]:
    assert view.query is not None
    table = view.query.targets
    assert table.at[:, 0].tolist() == list(range(len(table)))
    return [int(ids[of]) if of >= 0 else int(literal) for of, literal in zip(table.of, table.literal, strict=True)]


def restored(context: list[int], answer: list[int]) -> list[int]:
    """Each sentinel of the context replaced by what follows it in the answer."""
    assert answer[-1] == SPEC.id("end")
    spans: dict[int, list[int]] = {}
    for token in answer[:-1]:
        if token in SENTINEL_IDS:
            assert token not in spans
            spans[token] = []
        else:
            list(spans.values())[-1].append(token)
    out: list[int] = []
    for token in context:
        out += spans.pop(token) if token in SENTINEL_IDS else [token]
    assert not spans
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[bool], list[int] | None]:
    length = draw(st.integers(0, 30))
    ids = draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=length, max_size=length))
    hidden = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    if not draw(st.booleans()):
        return ids, hidden, None
    unit, number = [], -1
    for place, is_hidden in enumerate(hidden):
        starts = is_hidden and (place == 0 or not hidden[place - 1] or draw(st.booleans()))
        number += starts
        unit.append(3 * number if is_hidden else -1)
    return ids, hidden, unit


@given(cases(), st.booleans())
def test_round_trip(case: tuple[list[int], list[bool], list[int] | None], renumber: bool) -> None:
    ids, hidden, unit = case
    corruptor = SentinelSpans(CONTEXT, num_sentinels=SENTINELS, renumber=renumber)
    spans = (
        len({u for u in unit if u >= 0}) if unit is not None else sum(h and not (i and hidden[i - 1]) for i, h in enumerate(hidden))
    )
    if spans > SENTINELS:
        with pytest.raises(ValueError, match=f"{spans} spans need as many sentinels"):
            corruptor(sample(ids), masking(hidden, unit))
        return
    view = corruptor(sample(ids), masking(hidden, unit))
    array = np.array(ids, np.int64)
    context, answer = shown_ids(view.context, array), answer_ids(view, array)
    assert restored(context, answer) == ids
    assert len(context) == len(ids) - sum(hidden) + spans
    assert [token for token in context if token in SENTINEL_IDS] == SENTINEL_IDS[:spans]
    assert view.query is not None
    assert shown_ids(view.query, array) == [SPEC.id("start"), *answer[:-1]]  # the answer, shifted right
    assert view.query.layout.attention == ("causal" if len(answer) > 1 else "full")
    assert view.query.rank.tolist() == list(range(len(answer)))


def test_positions_count_slots_or_stay_with_the_tokens() -> None:
    whole, hidden = sample([1, 2, 3, 4, 5]), masking([False, True, True, False, True])
    counted = SentinelSpans(CONTEXT, num_sentinels=SENTINELS)(whole, hidden)
    assert counted.query is not None
    assert counted.context.positions[:, 0].tolist() == [0, 1, 2, 3]
    assert counted.query.positions[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert counted.query.has_position.all()
    kept = SentinelSpans(CONTEXT, num_sentinels=SENTINELS, renumber=False)(whole, hidden)
    assert kept.query is not None
    assert kept.context.positions[:, 0].tolist() == [0, 1, 3, 4]
    assert kept.query.positions[:, 0].tolist() == [0, 1, 1, 2, 4, 4]  # start, <0>, 2, 3, <1>, 5
    assert kept.query.has_position.tolist() == [False, True, True, True, True, True]


def test_maskings_that_are_no_spans_are_refused() -> None:
    corruptor, whole = SentinelSpans(CONTEXT, num_sentinels=SENTINELS), sample([1, 2, 3])
    with pytest.raises(ValueError, match="a unit of this masker is split"):
        corruptor(whole, masking([True, False, True], [0, -1, 0]))
    with pytest.raises(ValueError, match="must assign every masked token to one"):
        corruptor(whole, masking([True, False, True], [0, -1, -1]))
    unasked = {"w": dataclasses.replace(masking([True, False, True])["w"], is_target=np.zeros(3, bool))}
    with pytest.raises(ValueError, match="predicts exactly the masked tokens,"):
        corruptor(whole, unasked)


def test_continuous_content_and_several_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs ids"):
        SentinelSpans(Context(specs={"w": TokenSpec(width=(2,))}, modalities=("w",)))
    with pytest.raises(ValueError, match="set renumber: false"):
        SentinelSpans(Context(specs={"w": TokenSpec(vocabulary=2, axes=2)}, modalities=("w",)))


def test_units_may_have_numbers_beyond_the_length() -> None:
    """Numbers of units follow no rule; the answer holds hidden tokens alone, in the order of the numbers."""
    view = SentinelSpans(CONTEXT, num_sentinels=SENTINELS)(sample([1, 2, 3, 4]), masking([True, False, True, True], [90, -1, 7, 7]))
    assert view.query is not None
    assert view.query.targets.of.tolist() == [-1, 2, 3, -1, 0, -1]
