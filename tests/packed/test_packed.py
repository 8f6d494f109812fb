"""Packed sequences: layouts, joins and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnimask.interfaces import Draw, Layout, Packed
from omnimask.packed import (
    dense,
    from_dense,
    group_by_parent,
    interleave,
    joint_attention,
    ranges,
    to_device,
)

sizes = st.lists(st.integers(0, 6), max_size=6)


def layout(lengths: list[int], attention: str = "full", prefix: list[int] | None = None) -> Layout:
    sizes, parent = np.array(lengths, np.int64), np.arange(len(lengths), dtype=np.int64)
    return Layout(sizes, parent, attention, prefix=None if prefix is None else np.array(prefix, np.int64))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=6))
def test_ranges_are_aranges_one_after_another(pieces: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([piece[i] for piece in pieces], np.int64) for i in range(2))
    wanted = [place for start, length in pieces for place in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == wanted


@given(st.integers(0, 5), st.integers(1, 3), st.data())
def test_interleave_joins_sequence_by_sequence(count: int, num_parts: int, data: st.DataObject) -> None:
    lengths = [data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)) for _ in range(num_parts)]
    parts = [layout(part) for part in lengths]
    joint, order = interleave(parts)
    names = [
        [f"{part}.{row}.{slot}" for slot in range(n)]
        for part, part_lengths in enumerate(lengths)
        for row, n in enumerate(part_lengths)
    ]
    flat = [name for sequence in names for name in sequence]
    wanted = [f"{part}.{row}.{slot}" for row in range(count) for part in range(num_parts) for slot in range(lengths[part][row])]
    assert [flat[place] for place in order] == wanted
    assert joint.lengths.tolist() == [sum(part[row] for part in lengths) for row in range(count)]


def test_interleave_refuses_other_numbers_of_sequences() -> None:
    with pytest.raises(ValueError, match=r"parts have \[1, 2\] sequences"):
        interleave([layout([1]), layout([1, 1])])


@given(sizes)
def test_dense_and_back(lengths: list[int]) -> None:
    packed = Packed(torch.randn(sum(lengths), 2, 3), layout(lengths))
    padded, is_real = dense(packed, value=7.0)
    assert padded.shape[:2] == is_real.shape == (len(lengths), max(lengths, default=0))
    assert is_real.sum(1).tolist() == lengths
    assert bool((padded[~is_real] == 7.0).all())
    for row, part in enumerate(packed.data.split(lengths)):
        assert torch.equal(padded[row, : len(part)], part)
    assert torch.equal(from_dense(padded, packed.layout).data, packed.data)


def test_group_by_parent() -> None:
    grouped = group_by_parent(Layout(np.array([2, 3, 1]), np.array([0, 0, 2])), 4)
    assert grouped.lengths.tolist() == [5, 0, 1, 0]
    with pytest.raises(ValueError, match="must be adjacent,"):
        group_by_parent(Layout(np.array([2, 3]), np.array([1, 0])), 2)


def test_joint_attention() -> None:
    causal, full, single = layout([3, 2], "causal"), layout([4]), layout([1])
    mixed, other = layout([6], "ranked", [2]), layout([3], "ranked")
    assert joint_attention([causal, causal]) == ("causal", None)
    assert joint_attention([full, single, layout([0], "causal")]) == ("full", None)
    assert joint_attention([causal, single, layout([1], "ranked")]) == ("causal", None)
    attention, prefix = joint_attention([causal, full, mixed, single])
    assert attention == "ranked" and prefix is not None and prefix.tolist() == [0, 0, 4, 2, 1]
    assert joint_attention([causal, other]) == ("ranked", None)


def test_prefixes_of_every_kind() -> None:
    for one, wanted in ((layout([3, 2]), [3, 2]), (layout([3, 2], "causal"), [0, 0]), (layout([3], "ranked", [2]), [2])):
        assert one.prefixes is not None and one.prefixes.tolist() == wanted
    assert layout([3], "ranked").prefixes is None


@pytest.mark.parametrize(
    ("parts", "attention", "prefix"),
    [
        ([layout([2, 1]), layout([3, 0])], "full", None),
        ([layout([2, 1], "causal"), layout([3, 0], "causal")], "causal", None),
        ([layout([2, 0]), layout([3, 2], "causal")], "ranked", [2, 0]),
        ([layout([2]), layout([4], "ranked", [3]), layout([1], "causal")], "ranked", [5]),
        ([layout([2], "causal"), layout([3])], "ranked", None),
        ([layout([2]), layout([3], "ranked")], "ranked", None),
    ],
)
def test_interleaved_full_and_causal_parts(parts: list[Layout], attention: str, prefix: list[int] | None) -> None:
    joint, _ = interleave(parts)
    assert joint.attention == attention
    assert (None if joint.prefix is None else joint.prefix.tolist()) == prefix


def test_offsets() -> None:
    assert layout([2, 0, 3]).offsets.tolist() == [0, 2, 2, 5]
    assert layout([]).num_slots == 0


def test_moving_changes_no_layout_and_no_input() -> None:
    packed = Packed(torch.ones(2), layout([2]))
    moved = to_device({"a": (packed, Draw(0, 0, "a"))}, "meta")
    assert moved["a"][0].data.device.type == "meta"
    assert moved["a"][0].layout is packed.layout
    assert packed.data.device.type == "cpu"
