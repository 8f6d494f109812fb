"""Mixtures of full, causal and prefix sequences against a naive dense softmax; memory by the slot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask
from torch.profiler import ProfilerActivity, profile

from omnimask.component import named
from omnimask.components.encoders.bert import BertEncoder
from omnimask.components.encoders.modernbert import ModernBertEncoder
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, Layout, MaskedBatch, Packed, PairBias, Sample, Stream, Tokens, TokenSpec, View
from omnimask.network.attention import attend, choose_path
from omnimask.network.attention_plan import AttentionPlan
from omnimask.streams import sequence
from omnimask.testing.visibility import owner, sees

HEADS, WIDTH = 3, 4
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Some thousand epsilons of float64 and some ten of float32, on a few hundred numbers of size 1."""

MIXTURES = {
    "full and causal": [(5, 5), (7, 0)],
    "every kind": [(7, 7), (9, 0), (5, 2), (12, 6)],
    "equal lengths": [(6, 6), (6, 0), (6, 3), (6, 3)],
    "equal lengths, one prefix": [(6, 2), (6, 2), (6, 2)],
    "single slots": [(1, 1), (4, 2), (1, 0), (3, 1)],
    "empty ones": [(0, 0), (5, 3), (0, 0), (4, 4)],
    "long ones": [(300, 300), (300, 0), (300, 20), (290, 280), (150, 5)],
}


def layout(mixture: list[tuple[int, int]]) -> Layout:
    lengths, prefix = np.array(mixture, np.int64).reshape(-1, 2).T
    return Layout(lengths, np.arange(len(lengths)), "ranked", prefix=prefix)


def ranks(sizes: Layout) -> Tensor:
    assert sizes.prefix is not None
    parts = [np.r_[np.zeros(p), 1 + np.arange(n - p)] for n, p in zip(sizes.lengths, sizes.prefix, strict=True)]
    return torch.from_numpy(np.concatenate([np.zeros(0), *parts]).astype(np.int64))


def dense_plan(plan: AttentionPlan) -> AttentionPlan:
    """The same visibility by rank and block, as a mask of pairs."""
    rank = ranks(plan.layout)
    by_rank = dataclasses.replace(plan.layout, prefix=None)
    return AttentionPlan(by_rank, rank=rank, block=torch.zeros_like(rank), bias=plan.bias, reach=plan.reach)


def visible(plan: AttentionPlan) -> Tensor:
    rank, sequence, place = ranks(plan.layout), torch.from_numpy(owner(plan.layout)), torch.arange(plan.layout.num_slots)
    seen = (sequence[:, None] == sequence[None, :]) & (rank[None, :] <= rank[:, None])
    return seen if plan.reach is None else seen & ((place[:, None] - place[None, :]).abs() <= plan.reach)


def naive(plan: AttentionPlan, query: Tensor, key: Tensor, value: Tensor, table: Tensor | None) -> Tensor:
    scores = torch.einsum("qhd,khd->hqk", query, key) / WIDTH**0.5
    scores = scores if table is None else scores + table
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~visible(plan), -torch.inf).softmax(2), value)


def some_bias(slots: int, dtype: torch.dtype) -> tuple[PairBias, Tensor]:
    """A learned bias without any structure, and the (H, T, T) table that it reads."""
    table = torch.randn(HEADS, slots, slots, generator=torch.Generator().manual_seed(0), dtype=dtype, requires_grad=True)
    return lambda queries, keys: table[:, queries[:, :, None], keys[:, None, :]].transpose(0, 1), table


def compare(plan: AttentionPlan, table: Tensor | None = None, dtype: torch.dtype = torch.float64) -> None:
    assert plan.kind == "prefix"
    generator = torch.Generator().manual_seed(plan.layout.num_slots)
    shape = (plan.layout.num_slots, HEADS, WIDTH)
    inputs = [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for _ in range(3)]
    out, wanted = attend(*inputs, plan), naive(plan, *inputs, table)
    assert torch.allclose(out, wanted, rtol=0, atol=TOLERANCE[dtype])
    if not out.numel():
        return
    leaves = [*inputs, *([] if table is None else [table])]
    upstream = torch.randn(out.shape, generator=generator, dtype=dtype)
    found, expected = (torch.autograd.grad(each, leaves, upstream, materialize_grads=True) for each in (out, wanted))
    for got, right in zip(found, expected, strict=True):
        # A key's gradient sums over all queries, so it may be larger than 1.
        scale = max(float(right.abs().max()), 1.0)
        assert torch.allclose(got, right, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reach", [None, 1, 4, 64])
@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_a_mixture_equals_the_dense_mask(mixture: list[tuple[int, int]], reach: int | None, dtype: torch.dtype) -> None:
    compare(AttentionPlan(layout(mixture)).within(reach), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reach", [None, 3])
@pytest.mark.parametrize("mixture", [MIXTURES["every kind"], MIXTURES["equal lengths"], MIXTURES["empty ones"]])
def test_a_mixture_with_a_bias(mixture: list[tuple[int, int]], reach: int | None, dtype: torch.dtype) -> None:
    sizes = layout(mixture)
    bias, table = some_bias(sizes.num_slots, dtype)
    compare(AttentionPlan(sizes, bias=bias).within(reach), table, dtype)


@given(st.lists(st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=7), st.integers(1, 14))
def test_any_mixture_and_reach(mixture: list[tuple[int, int]], reach: int) -> None:
    compare(AttentionPlan(layout(mixture)).within(reach))


SPECS = {"m": TokenSpec(vocabulary=9)}
CONTEXT = Context(specs=SPECS, modalities=("m",))
ENCODERS = {
    "transformer": lambda: TransformerEncoder(CONTEXT, width=16, depth=2, heads=2, position=named("position", "rotary")),
    "bert with biases": lambda: BertEncoder(CONTEXT, width=16, depth=2, heads=2, position=named("position", "alibi")),
    "modernbert with windows": lambda: ModernBertEncoder(CONTEXT, width=16, depth=3, heads=2, window=4, global_every=2),
}


def _packed(mixture: list[tuple[int, int]]) -> tuple[Stream, MaskedBatch]:
    samples = [
        Sample({"m": Tokens(np.zeros(n, np.int64), np.arange(n, dtype=np.float32)[:, None])}, Draw(0, 0, str(i)), ("m",))
        for i, (n, _) in enumerate(mixture)
    ]
    rank = [np.maximum(np.arange(n) - p + 1, 0) for n, p in mixture]
    contexts = [sequence(sample, np.arange(len(sample)), rank=part) for sample, part in zip(samples, rank, strict=True)]
    batch = collate(samples, [{"main": View(context)} for context in contexts], SPECS)
    return batch.views["main"].context, batch


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_sees_what_ranks_describe(name: str) -> None:
    """Rotations and biases by position, windows, and the prefix that packing finds in the ranks."""
    torch.manual_seed(0)
    encoder = ENCODERS[name]().double()
    stream, batch = _packed([(9, 9), (11, 0), (9, 4), (1, 1), (14, 6)])
    assert stream.layout.prefix is not None
    data = torch.randn(stream.layout.num_slots, 16, dtype=torch.float64)

    def outcome(layout: Layout) -> list[Tensor]:
        one = dataclasses.replace(stream, layout=layout)
        features = encoder(Packed(data, layout), one, batch).features.data
        return [features, *torch.autograd.grad(features.sin().sum(), list(encoder.parameters()), materialize_grads=True)]

    by_prefix, by_rank = (outcome(each) for each in (stream.layout, dataclasses.replace(stream.layout, prefix=None)))
    for got, right in zip(by_prefix, by_rank, strict=True):
        assert torch.allclose(got, right, rtol=1e-12, atol=1e-12)


def test_prefixes_found_at_packing_describe_what_the_predicate_describes() -> None:
    stream, _ = _packed([(4, 4), (5, 0), (6, 3)])
    plan = AttentionPlan.of(stream)
    assert plan.kind == "prefix"
    assert np.array_equal(visible(plan).numpy(), sees(stream))


def peak(plan: AttentionPlan) -> int:
    """Return the most bytes that a forward and a backward pass hold at once."""
    inputs = [torch.randn(plan.layout.num_slots, 1, 8, requires_grad=True) for _ in range(3)]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        attend(*inputs, plan).sum().backward()
    assert found.profiler is not None and found.profiler.kineto_results is not None
    sizes = [event.nbytes() for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum(sizes).max())


@pytest.mark.parametrize("reach", [None, 32])
def test_memory_grows_with_slots(reach: int | None) -> None:
    """One sequence of each kind. Masks need a byte or more for each pair, so four times as many for twice the slots."""

    def plan(length: int) -> AttentionPlan:
        return AttentionPlan(layout([(length, length), (length, 0), (length, length // 3)])).within(reach)

    small, large = (peak(plan(length)) for length in (1024, 2048))
    assert large < 2.2 * small
    assert large < 0.5 * 3 * 2048**2
    # The same measurement sees a mask where there is one.
    masked_small, masked_large = (peak(dense_plan(plan(length))) for length in (512, 1024))
    assert reach is not None or (masked_large > 3 * masked_small and masked_large > 3 * 1024**2)


def test_the_block_mask_is_the_one_of_all_pairs() -> None:
    """Full blocks, partial ones and none, also where slots end within a block."""
    for mixture in ([(300, 300), (200, 0), (500, 270), (3, 2)], [(256, 256), (256, 0), (128, 64)], [(5, 2), (4, 4)]):
        for reach in (None, 40, 200):
            plan = AttentionPlan(layout(mixture)).within(reach)
            seen, slots = visible(plan), plan.layout.num_slots
            right = create_block_mask(lambda _b, _h, i, j, seen=seen: seen[i, j], None, None, slots, slots, device="cpu")
            made = plan.block_mask(torch.device("cpu"))
            assert torch.equal(made.to_dense(), right.to_dense())
            full = [_blocks(mask.full_kv_num_blocks, mask.full_kv_indices) for mask in (made, right)]
            assert full[0] == full[1]
            pair = torch.arange(slots)
            assert torch.equal(made.mask_mod(None, None, pair[:, None], pair[None, :]), seen)


def _blocks(count: Tensor, indices: Tensor) -> list[set[int]]:
    return [set(row[:n].tolist()) for n, row in zip(count[0, 0].tolist(), indices[0, 0], strict=True)]


def test_a_block_mask_of_a_mixture_needs_no_comparison_of_pairs() -> None:
    """One of ranks needs some 12 bytes for each pair."""
    plan = AttentionPlan(layout([(1024, 1024), (1024, 0)]))

    def made(one: AttentionPlan) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
            one.block_mask(torch.device("cpu"))
        assert found.profiler is not None and found.profiler.kineto_results is not None
        events = found.profiler.kineto_results.events()
        return int(np.cumsum([event.nbytes() for event in events if event.name() == "[memory]"]).max())

    assert made(plan) < 0.1 * 2048**2
    assert made(dense_plan(plan)) > 4 * 2048**2


@pytest.mark.parametrize("reach", [None, 3])
def test_flex_agrees_with_the_reference_path(reach: int | None) -> None:
    """FlexAttention's eager form on CPU (forward only), in float32: 1e-5 is some 80 epsilons."""
    sizes = layout(MIXTURES["every kind"])
    bias, _ = some_bias(sizes.num_slots, torch.float32)
    plan = AttentionPlan(sizes, bias=bias).within(reach)
    generator = torch.Generator().manual_seed(5)
    parts = [torch.randn(sizes.num_slots, HEADS, 16, generator=generator) for _ in range(3)]
    with torch.no_grad():
        assert torch.allclose(attend(*parts, plan, path="flex"), attend(*parts, plan, path="reference"), atol=1e-5)


GPU = torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("reach", [None, 16])
@pytest.mark.parametrize("queries", [[1, 5, 64, 0, 130], [64, 64, 64, 64, 64]])
def test_the_variable_length_kernel_aligns_queries_to_the_end_of_their_keys(queries: list[int], reach: int | None) -> None:
    """Queries are the last slots of longer sequences; aligned to the beginning, they would see other keys.

    Values are the places of keys, and all keys are equal: a query's result is the mean place of the keys it sees.
    """
    keys = [70, 5, 200, 33, 150]
    sizes = [Layout(np.array(each), np.arange(5)) for each in (queries, keys)]
    plan = AttentionPlan(*sizes, reach=reach, is_suffix=True)
    place = torch.cat([torch.arange(n) for n in keys]).float().to(GPU, torch.bfloat16)[:, None, None].expand(-1, 1, 64)
    out = attend(torch.ones(sum(queries), 1, 64, device=GPU).bfloat16(), torch.ones_like(place), place, plan, path="varlen")
    own = torch.cat([torch.arange(m - n, m) for n, m in zip(queries, keys, strict=True)]).float()
    wanted = own / 2 if reach is None else (own + (own - reach).clamp(min=0)) / 2
    # Rounding of bfloat16 (epsilon 7.8e-3) in values and results, of up to 199.
    assert torch.allclose(out[:, 0, 0].float().cpu(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("path", ["varlen", "flex"])
@pytest.mark.parametrize("mixture", [MIXTURES["every kind"], MIXTURES["long ones"], MIXTURES["empty ones"]])
@pytest.mark.parametrize("reach", [None, 16])
def test_a_mixture_on_gpu(path: str, mixture: list[tuple[int, int]], reach: int | None) -> None:
    """Outputs and gradients within bfloat16's rounding of the dense mask in float32."""
    plan = AttentionPlan(layout(mixture)).within(reach)
    generator = torch.Generator().manual_seed(0)
    shape = (plan.layout.num_slots, 2, 64)
    parts = [torch.randn(shape, generator=generator).to(GPU, torch.bfloat16).requires_grad_() for _ in range(3)]
    assert choose_path(plan, parts[0]) == "varlen"
    exact = [part.detach().cpu().float().requires_grad_() for part in parts]
    out, wanted = attend(*parts, plan, path=path), attend(*exact, dense_plan(plan), path="reference")  # type: ignore[arg-type]
    upstream = torch.randn(out.shape, generator=generator)
    found = torch.autograd.grad(out, parts, upstream.to(GPU, out.dtype))
    expected = torch.autograd.grad(wanted, exact, upstream)
    for got, right in zip((out, *found), (wanted, *expected), strict=True):
        assert float((got.cpu().float() - right).norm() / right.norm()) < 1e-2
