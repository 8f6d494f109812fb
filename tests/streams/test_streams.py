"""Streams: stacking, chaining and joining keep what every slot and target refers to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.interfaces import CONTENT, Draw, Sample, Stream, TokenSpec, View
from omnimask.streams import attention_kind, chain, join_views, move, sequence, stack, targets
from omnimask.testing import make_sample
from omnimask.testing.visibility import owner, sees

SPECS = {"a": TokenSpec(vocabulary=5), "b": TokenSpec(width=(2,), axes=2)}


def sample(a: int, b: int) -> Sample:
    return make_sample(SPECS, {"a": a, "b": b}, Draw(0, 0, "s"))


def part(of: Sample, slots: list[int], ranks: list[int] | None = None) -> Stream:
    """A stream over chosen tokens whose targets ask every second slot for its own token."""
    asked = np.arange(0, len(slots), 2)
    table = targets(asked, np.array(slots, np.int64)[asked])
    return sequence(of, np.array(slots, np.int64), rank=None if ranks is None else np.array(ranks), targets=table)


def facts(stream: Stream) -> list[tuple[int, ...]]:
    """Per target: sequence, source of its slot, and what it asks."""
    table, rows = stream.targets, owner(stream.layout)
    return [(int(rows[at]), int(stream.source[at]), int(of)) for at, of in zip(table.at[:, 0], table.of, strict=True)]


@given(st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=5))
def test_stack_keeps_sequences_and_targets(slots: list[list[int]]) -> None:
    whole = sample(5, 4)
    streams = [part(whole, one) for one in slots]
    joint = stack(streams)
    assert joint.layout.lengths.tolist() == [len(one) for one in slots]
    assert joint.source.tolist() == [token for one in slots for token in one]
    assert facts(joint) == [(row, token, token) for row, one in enumerate(slots) for token in one[::2]]
    assert np.array_equal(joint.positions, whole.positions[joint.source])
    assert np.array_equal(joint.modality, whole.modality[joint.source])


@given(st.lists(st.integers(0, 4), max_size=5), st.lists(st.integers(0, 4), max_size=5))
def test_chain_lets_parts_see_each_other_as_their_ranks_allow(first: list[int], second: list[int]) -> None:
    whole = sample(5, 4)
    ranks = sorted(first), sorted(second)
    joint = chain([part(whole, list(range(len(r))), r) for r in ranks])
    rank = np.array(ranks[0] + ranks[1], np.int64)
    assert joint.layout.num_sequences == 1
    assert np.array_equal(sees(joint), rank[None, :] <= rank[:, None])
    if joint.layout.attention == "full":
        assert len(set(rank.tolist())) <= 1
    if joint.layout.attention == "causal":
        assert np.all(np.diff(rank) > 0)


@given(st.integers(0, 5), st.integers(0, 5))
def test_join_views_moves_every_modality_to_its_place(a: int, b: int) -> None:
    whole = sample(a, b)
    parts = []
    for name in whole.tokens:
        alone = whole.only(name)
        tokens = np.arange(len(alone))
        query = sequence(alone, tokens[::-1], targets=targets(tokens, tokens[::-1]))
        parts.append((name, View(sequence(alone, tokens), query)))
    view = join_views(whole, parts)
    assert view.context.source.tolist() == list(range(a + b))
    assert view.context.layout.num_sequences == 1
    assert view.query is not None
    assert view.query.layout.lengths.tolist() == [a, b]
    assert view.query.layout.parent.tolist() == [0, 0]
    assert view.query.source.tolist() == [*range(a)][::-1] + [*range(a, a + b)][::-1]
    assert view.query.targets.of.tolist() == view.query.source.tolist()
    axes = view.context.positions.shape[1]
    assert np.array_equal(view.context.positions, whole.positions[:, :axes])
    assert axes == 2 or not b
    assert np.array_equal(view.context.modality, whole.modality)


def test_move_leaves_inserted_slots_alone() -> None:
    whole = sample(3, 0)
    stream = sequence(whole, [0, -1], literal=[CONTENT, 4], modality=[0, 0], targets=targets([0, 1], [2, -1], literal=[-1, 4]))
    moved = move(stream, 10)
    assert (moved.source.tolist(), moved.targets.of.tolist()) == ([10, -1], [12, -1])
    assert stream.source.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("rank", "block", "kind"),
    [
        (None, None, "full"),
        ([2, 2], None, "full"),
        ([], [], "full"),
        ([0, 1, 5], None, "causal"),
        ([0, 0, 1], None, "ranked"),
        ([1, 0], None, "ranked"),
        ([0, 0], [0, 1], "ranked"),
        ([0, 0], [3, 3], "full"),
    ],
)
def test_attention_kind(rank: list[int] | None, block: list[int] | None, kind: str) -> None:
    arrays = [None if part is None else np.array(part, np.int64) for part in (rank, block)]
    assert attention_kind(*arrays) == kind


@pytest.mark.parametrize(
    ("rank", "block", "prefix"),
    [
        ([0, 0, 1], None, [2]),
        ([3, 3, 3, 5, 9], [1] * 5, [3]),
        ([0, 1, 1], None, None),
        ([0, 0, 1, 1], None, None),
        ([0, 0, 1, 0], None, None),
        ([1, 0], None, None),
        ([0, 0, 1], [0, 1, 1], None),
        ([0, 0], None, None),
        ([0, 1], None, None),
    ],
)
def test_prefixes_are_found_in_ranks(rank: list[int], block: list[int] | None, prefix: list[int] | None) -> None:
    stream = sequence(sample(5, 0), np.arange(len(rank)), rank=rank, block=block)
    assert (None if stream.layout.prefix is None else stream.layout.prefix.tolist()) == prefix


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=4))
def test_a_stacked_prefix_is_what_ranks_describe(ranks: list[list[int]]) -> None:
    whole = sample(5, 4)
    joint = stack([part(whole, list(range(len(rank))), rank) for rank in ranks])
    prefixes = joint.layout.prefixes
    if prefixes is None:
        return
    place = np.concatenate([np.arange(len(rank)) for rank in ranks])
    prefix, sequences = np.repeat(prefixes, joint.layout.lengths), owner(joint.layout)
    seen = (place[None, :] <= place[:, None]) | ((place < prefix)[:, None] & (place < prefix)[None, :])
    assert np.array_equal(sees(joint), seen & (sequences[:, None] == sequences[None, :]))


def test_a_causal_and_a_full_sequence_are_ranked_together_unless_one_is_a_single_slot() -> None:
    whole = sample(4, 0)
    causal, full, single = part(whole, [0, 1], [0, 1]), part(whole, [0, 1]), part(whole, [0])
    mixed = stack([causal, full]).layout
    assert mixed.attention == "ranked" and mixed.prefix is not None and mixed.prefix.tolist() == [0, 2]
    assert stack([causal, single]).layout.attention == "causal"
    assert stack([full, single]).layout.attention == "full"


def test_inserted_slots_need_a_modality() -> None:
    with pytest.raises(ValueError, match="need a modality"):
        sequence(sample(1, 0), [-1])
