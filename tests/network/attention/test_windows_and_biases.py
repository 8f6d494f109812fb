"""Windows and biases against a naive dense softmax, on every kind of layout, and the paths against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omnimask.components.positions.alibi import distance_bias, slopes
from omnimask.interfaces import Layout, PairBias
from omnimask.network.attention import attend
from omnimask.network.attention_plan import AttentionPlan
from omnimask.testing.visibility import owner

HEADS, WIDTH = 3, 4
TOLERANCE = 1e-12
"""Both sides compute in float64."""
LENGTHS = [5, 0, 300, 2, 5, 41, 130, 300]


def layout(lengths: list[int], attention: str = "full") -> Layout:
    return Layout(np.array(lengths, np.int64), np.arange(len(lengths)), attention)  # type: ignore[arg-type]


def inputs(rows: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, HEADS, WIDTH, generator=generator, dtype=dtype, requires_grad=True) for _ in range(3)]


def some_bias(slots: int, seed: int = 0) -> tuple[PairBias, Tensor]:
    """A bias without any structure, learned, and the (H, T, T) table that it reads."""
    table = torch.randn(HEADS, slots, slots, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
    return lambda queries, keys: table[:, queries[:, :, None], keys[:, None, :]].transpose(0, 1), table


def naive(plan: AttentionPlan, query: Tensor, key: Tensor, value: Tensor, table: Tensor | None = None) -> Tensor:
    sequence, place = torch.from_numpy(owner(plan.layout)), torch.arange(plan.layout.num_slots)
    visible = sequence[:, None] == sequence[None, :]
    if plan.kind == "causal":
        visible = visible & (place[None, :] <= place[:, None])
    if plan.reach is not None:
        visible = visible & ((place[:, None] - place[None, :]).abs() <= plan.reach)
    scores = torch.einsum("qhd,khd->hqk", query, key) / WIDTH**0.5
    scores = scores if table is None else scores + table
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~visible, -torch.inf).softmax(2), value)


def compare(plan: AttentionPlan, table: Tensor | None = None) -> None:
    parts = inputs(plan.layout.num_slots)
    out, wanted = attend(*parts, plan), naive(plan, *parts, table)
    assert torch.allclose(out, wanted, rtol=0, atol=TOLERANCE)
    leaves = [*parts, *([] if table is None else [table])]
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for got, right in zip(torch.autograd.grad(out, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream), strict=True):
        assert torch.allclose(got, right, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("attention", ["full", "causal"])
@pytest.mark.parametrize("reach", [1, 4, 64, 200])
def test_a_window_limits_what_a_slot_sees(attention: str, reach: int) -> None:
    """Short sequences are one product, long ones many chunks."""
    plan = AttentionPlan(layout(LENGTHS, attention)).within(reach)
    assert plan.reach == reach
    compare(plan)


@pytest.mark.parametrize("attention", ["full", "causal"])
@pytest.mark.parametrize("reach", [None, 7])
def test_a_bias_is_added_to_the_logits(attention: str, reach: int | None) -> None:
    sizes = layout([5, 30, 2, 5, 41], attention)
    bias, table = some_bias(sizes.num_slots)
    compare(AttentionPlan(sizes, bias=bias).within(reach), table)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 14))
def test_any_layout_and_reach(lengths: list[int], reach: int) -> None:
    sizes = layout(lengths)
    bias, table = some_bias(sizes.num_slots, reach)
    compare(AttentionPlan(sizes, bias=bias).within(reach), table)


def test_a_window_that_holds_every_sequence_is_no_window() -> None:
    plan = AttentionPlan(layout([3, 5]))
    assert plan.within(4) is plan and plan.within(None) is plan
    assert plan.within(3) is plan.within(3) is not plan


def test_a_bias_of_another_streams_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="a bias or a reach needs self-attention, but the keys are those of another"):
        AttentionPlan(layout([2]), layout([3]), reach=1)


@pytest.mark.parametrize(("attention", "reach"), [("full", None), ("causal", 3), ("full", 3)])
def test_flex_agrees_with_the_reference_path(attention: str, reach: int | None) -> None:
    """FlexAttention's eager form on CPU (forward only), in float32: 1e-5 is some 80 epsilons."""
    sizes = layout([4, 2, 4, 17], attention)
    positions = torch.cat([torch.arange(n) for n in (4, 2, 4, 17)]).float()[:, None]
    bias = distance_bias(positions, torch.ones(27, dtype=torch.bool), torch.tensor(slopes(HEADS)))
    plan = AttentionPlan(sizes, bias=bias).within(reach)
    generator = torch.Generator().manual_seed(5)
    parts = [torch.randn(27, HEADS, 16, generator=generator) for _ in range(3)]
    with torch.no_grad():
        assert torch.allclose(attend(*parts, plan, path="flex"), attend(*parts, plan, path="reference"), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("path", "biased"), [("varlen", False), ("flex", False), ("flex", True)])
def test_windows_and_biases_on_gpu(path: str, biased: bool) -> None:
    """Within bfloat16's rounding of the reference path in float32."""
    sizes = layout([64, 30, 7, 130, 300])
    device, slots = torch.device("cuda"), sizes.num_slots
    places = torch.cat([torch.arange(n) for n in (64, 30, 7, 130, 300)]).float()[:, None].to(device)
    bias = distance_bias(places, torch.ones(slots, dtype=torch.bool, device=device), torch.tensor(slopes(2), device=device))
    plan = AttentionPlan(sizes, bias=bias if biased else None).within(16)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(slots, 2, 64, generator=generator).to(device, torch.bfloat16).requires_grad_() for _ in range(3)]
    exact = [part.detach().float().requires_grad_() for part in parts]
    out, wanted = attend(*parts, plan, path=path), attend(*exact, plan, path="reference")  # type: ignore[arg-type]
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(device)
    found = torch.autograd.grad(out, parts, upstream.to(out.dtype))
    expected = torch.autograd.grad(wanted, exact, upstream)
    for got, right in zip((out, *found), (wanted, *expected), strict=True):
        assert float((got.float() - right).norm() / right.norm()) < 1e-2
