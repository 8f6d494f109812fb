"""The reference path against a naive dense masked softmax: values and gradients, every kind of layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omnimask.interfaces import Layout
from omnimask.network.attention import attend
from omnimask.network.attention_plan import AttentionPlan
from omnimask.testing.visibility import owner

HEADS, WIDTH = 2, 4
TOLERANCE = 1e-12
"""Both sides compute in float64 (epsilon 2.2e-16) on a few dozen numbers."""

LENGTHS = {
    "uniform": [5, 5, 5],
    "runs": [3, 3, 1, 1, 6],
    "bucketed": [4, 2, 4, 7, 2, 4],
    "all distinct": [1, 4, 2, 7, 3],
    "empty ones": [0, 3, 0, 2, 3, 0],
    "only empty": [0, 0],
    "none": [],
    "one": [1],
}


def layout(lengths: list[int], attention: str = "full") -> Layout:
    sizes = np.array(lengths, np.int64)
    return Layout(sizes, np.arange(len(sizes), dtype=np.int64), attention)  # type: ignore[arg-type]


def random(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, HEADS, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)


def naive(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """Dense softmax over all keys with -inf where a slot sees nothing; rows that see nothing at all give zeros."""
    scores = torch.einsum("qhd,khd->hqk", query, key) / WIDTH**0.5
    scores = scores.masked_fill(~visible, -torch.inf)
    weights = torch.where(visible.any(1)[None, :, None], scores, 0).softmax(2) * visible
    return torch.einsum("hqk,khd->qhd", weights, value)


def same_sequence(queries: Layout, keys: Layout) -> Tensor:
    return torch.from_numpy(owner(queries)[:, None] == owner(keys)[None, :])


def compare(plan: AttentionPlan, visible: Tensor) -> None:
    query = random(plan.layout.num_slots, 0)
    key, value = random(plan.keys.num_slots, 1), random(plan.keys.num_slots, 2)
    out, wanted = attend(query, key, value, plan), naive(query, key, value, visible)
    assert out.shape == wanted.shape
    assert torch.allclose(out, wanted, rtol=0, atol=TOLERANCE)
    if not out.numel() or not key.numel():
        return
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    inputs = (query, key, value)
    found = torch.autograd.grad(out, inputs, upstream, materialize_grads=True)
    expected = torch.autograd.grad(wanted, inputs, upstream, materialize_grads=True)
    for got, right in zip(found, expected, strict=True):
        assert torch.allclose(got, right, rtol=0, atol=TOLERANCE)


def ranked(layout: Layout, rank: Tensor, block: Tensor) -> tuple[AttentionPlan, Tensor]:
    earlier = rank[None, :] < rank[:, None]
    same = (rank[None, :] == rank[:, None]) & (block[None, :] == block[:, None])
    return AttentionPlan(layout, rank=rank, block=block), same_sequence(layout, layout) & (earlier | same)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("attention", ["full", "causal", "ranked"])
def test_self_attention(lengths: list[int], attention: str) -> None:
    sizes = layout(lengths, attention)
    slots = sizes.num_slots
    place = torch.arange(slots)
    if attention == "full":
        compare(AttentionPlan(sizes), same_sequence(sizes, sizes))
    elif attention == "causal":
        compare(AttentionPlan(sizes), same_sequence(sizes, sizes) & (place[None, :] <= place[:, None]))
    else:
        generator = torch.Generator().manual_seed(4)
        rank, block = (torch.randint(0, 3, (slots,), generator=generator) for _ in range(2))
        compare(*ranked(sizes, rank, block))


@pytest.mark.parametrize("keys", LENGTHS.values(), ids=LENGTHS)
def test_cross_attention(keys: list[int]) -> None:
    generator = np.random.default_rng(len(keys))
    for queries in (keys, [2] * len(keys), generator.integers(0, 5, len(keys)).tolist(), keys[::-1]):
        plan = AttentionPlan(layout(queries), layout(keys))
        compare(plan, same_sequence(plan.layout, plan.keys))


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 2**31))
def test_ranked_attention_of_any_layout(lengths: list[int], seed: int) -> None:
    sizes = layout(lengths, "ranked")
    generator = torch.Generator().manual_seed(seed)
    rank, block = (torch.randint(0, 4, (sizes.num_slots,), generator=generator) for _ in range(2))
    compare(*ranked(sizes, rank, block))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8))
def test_cross_attention_of_any_layout(pairs: list[tuple[int, int]]) -> None:
    plan = AttentionPlan(layout([q for q, _ in pairs]), layout([k for _, k in pairs]))
    compare(plan, same_sequence(plan.layout, plan.keys))


def test_a_slot_of_rank_and_block_of_its_own_sees_itself_and_what_is_below() -> None:
    sizes = layout([4], "ranked")
    rank, block = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])
    plan, visible = ranked(sizes, rank, block)
    assert visible.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    compare(plan, visible)


def test_plans_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the rank and the block"):
        AttentionPlan(layout([2], "ranked"))
    with pytest.raises(ValueError, match="2 query sequences for 1 key sequences"):
        AttentionPlan(layout([2, 1]), layout([2]))


def test_flex_agrees_with_the_reference_path() -> None:
    """FlexAttention's eager form on CPU (forward only), in float32: 1e-5 is some 80 epsilons."""
    sizes = layout([4, 2, 4, 7], "ranked")
    generator = torch.Generator().manual_seed(5)
    rank, block = (torch.randint(0, 3, (sizes.num_slots,), generator=generator) for _ in range(2))
    plan, _ = ranked(sizes, rank, block)
    query, key, value = (torch.randn(sizes.num_slots, HEADS, 16, generator=generator) for _ in range(3))
    with torch.no_grad():
        assert torch.allclose(
            attend(query, key, value, plan, path="flex"), attend(query, key, value, plan, path="reference"), atol=1e-5
        )


GPU = torch.device("cuda")


def halves(layout: Layout, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (layout.num_slots, HEADS, 64)
    return [torch.randn(shape, generator=generator).to(GPU, torch.bfloat16).requires_grad_() for _ in range(3)]


def compare_on_gpu(plan: AttentionPlan, keys: Layout, path: str) -> None:
    """Outputs and gradients within bfloat16's rounding (epsilon 7.8e-3) of the reference path in float32."""
    query, key, value = halves(plan.layout, 0)[0], *halves(keys, 1)[1:]
    exact = [part.detach().float().requires_grad_() for part in (query, key, value)]
    out = attend(query, key, value, plan, path=path)  # type: ignore[arg-type]
    wanted = attend(*exact, plan, path="reference")
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(GPU)
    found = torch.autograd.grad(out, (query, key, value), upstream.to(out.dtype))
    expected = torch.autograd.grad(wanted, exact, upstream)
    for got, right in zip((out, *found), (wanted, *expected), strict=True):
        assert float((got.float() - right).norm() / right.norm()) < 1e-2


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["full", "causal"])
@pytest.mark.parametrize("lengths", [[64, 64], [30, 7, 0, 130, 1]])
def test_varlen_agrees_with_the_reference_path(attention: str, lengths: list[int]) -> None:
    sizes = layout(lengths, attention)
    compare_on_gpu(AttentionPlan(sizes), sizes, "varlen")


@pytest.mark.gpu
def test_varlen_cross_attention_agrees_with_the_reference_path() -> None:
    queries, keys = layout([3, 40, 17]), layout([60, 5, 1])
    compare_on_gpu(AttentionPlan(queries, keys), keys, "varlen")


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [[64, 64], [30, 7, 130, 1]])
def test_flex_agrees_with_the_reference_path_on_gpu(lengths: list[int]) -> None:
    sizes = layout(lengths, "ranked")
    generator = torch.Generator().manual_seed(6)
    rank, block = (torch.randint(0, 3, (sizes.num_slots,), generator=generator).to(GPU) for _ in range(2))
    compare_on_gpu(AttentionPlan(sizes, rank=rank, block=block), sizes, "flex")
