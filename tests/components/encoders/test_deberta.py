"""Disentangled attention against its formula, pair by pair, and the options of its encoder."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import build
from omnimask.component import Component
from omnimask.components.encoders.deberta import DebertaEncoder
from omnimask.data.planner import Place
from omnimask.interfaces import Context, Layout, MaskedBatch, Stream, TokenSpec
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.disentangled import DisentangledAttention, log_bucket, relative_rows
from omnimask.testing import synthetic_recipe

WIDTH, HEADS, BUCKETS, MAX_DISTANCE = 16, 2, 4, 6
OPTIONS: dict[str, Any] = {"width": WIDTH, "depth": 2, "heads": HEADS, "buckets": BUCKETS, "max_distance": MAX_DISTANCE}
IDS = Context(specs={"ids": TokenSpec(vocabulary=11)}, modalities=("ids",))


def test_buckets_by_hand() -> None:
    """Up to 4 themselves; then 4 + ceil(3 log(d / 4) / log(15 / 4)), which is 8 - 1 at distance 15."""
    distances = torch.tensor([0.0, 1, 4, 5, 6, 7, 8, 10, 15, 16, 40])
    expected = torch.tensor([0.0, 1, 4, 5, 5, 6, 6, 7, 7, 8, 10])
    assert torch.equal(log_bucket(distances, 8, 16), expected)
    assert torch.equal(log_bucket(-distances, 8, 16), -expected)


def batch_of(**options: Any) -> tuple[Any, MaskedBatch]:
    built = build(synthetic_recipe(encoder=Component("encoder", "deberta", {**OPTIONS, **options})))
    return built.model, built.pipeline.pack([built.pipeline.sample(Place(0, n, n, 0.0)) for n in range(6)])


def one_by_one(attention: DisentangledAttention, x_TD: Tensor, table: Tensor, stream: Stream, sees: Any) -> Tensor:
    """The formula of the paper for every pair of slots that see each other, in float64."""
    query, key, value = (part.unflatten(1, (HEADS, -1)) for part in attention.qkv(x_TD).chunk(3, dim=1))
    place_query, place_key, _ = (part.unflatten(1, (HEADS, -1)) for part in attention.qkv(table).chunk(3, dim=1))
    out = torch.zeros_like(query)
    for i in range(len(x_TD)):
        keys = [j for j in range(len(x_TD)) if sees(i, j)]
        logits = []
        for j in keys:
            logit = (query[i] * key[j]).sum(1)
            if stream.has_position[i] and stream.has_position[j]:
                distance = stream.positions[i, 0] - stream.positions[j, 0]
                row = int(log_bucket(distance, BUCKETS, MAX_DISTANCE)) + BUCKETS
                row = min(max(row, 0), 2 * BUCKETS - 1)
                logit = logit + (query[i] * place_key[row]).sum(1) + (key[j] * place_query[row]).sum(1)
            logits.append(logit / math.sqrt(3 * WIDTH / HEADS))
        out[i] = (torch.stack(logits).softmax(0)[:, :, None] * value[keys]).sum(0)
    return attention.project(out.flatten(1))


@pytest.mark.parametrize("kind", ["full", "causal", "prefix", "ranked"])
def test_attention_is_its_formula(kind: str) -> None:
    """Sequences of several lengths, positions out of order, some slots without one."""
    _, batch = batch_of()
    lengths = np.array([5, 11, 1, 5, 0])
    slots, rng = int(lengths.sum()), np.random.default_rng(0)
    owner = np.repeat(np.arange(5), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    first = {"full": 99, "causal": 0, "prefix": 3, "ranked": 0}[kind]
    rank = torch.from_numpy(rng.integers(0, 3, slots) if kind == "ranked" else np.maximum(place - first + 1, 0))
    block = torch.from_numpy(rng.integers(0, 2, slots) if kind == "ranked" else np.zeros(slots, np.int64))
    prefix = np.minimum(lengths, 3) if kind == "prefix" else None
    layout = Layout(lengths, np.arange(5), "ranked" if kind == "prefix" else kind, prefix=prefix)  # pyright: ignore[reportArgumentType]
    stream = replace(
        batch.views["main"].context,
        layout=layout,
        rank=rank,
        block=block,
        positions=torch.from_numpy(rng.permutation(slots).astype(np.float32))[:, None],
        has_position=torch.from_numpy(rng.random(slots) < 0.8),
    )

    def sees(i: int, j: int) -> bool:
        earlier = bool(rank[j] < rank[i]) or bool(rank[j] == rank[i] and block[j] == block[i])
        return bool(owner[i] == owner[j]) and earlier

    torch.manual_seed(0)
    attention = DisentangledAttention(WIDTH, HEADS).double()
    x_TD, table = torch.randn(slots, WIDTH).double(), torch.randn(2 * BUCKETS, WIDTH).double()
    plan = AttentionPlan.of(stream, relation=relative_rows(stream, BUCKETS, MAX_DISTANCE))
    expected = one_by_one(attention, x_TD, table, stream, sees)
    assert torch.allclose(attention.attend_with(x_TD, table, plan), expected, atol=1e-12)


def test_shared_distances_change_nothing() -> None:
    """Sequences of one length share the rows of their pairs only if their positions have equal distances."""
    _, batch = batch_of()
    layout = Layout(np.array([3, 3]), np.arange(2))
    for second, shared in (([4.0, 5, 6], 1), ([4.0, 6, 5], 2)):
        positions, known = torch.tensor([0.0, 1, 2, *second])[:, None], torch.ones(6, dtype=torch.bool)
        stream = replace(batch.views["main"].context, layout=layout, positions=positions, has_position=known)
        plan = AttentionPlan.of(stream, relation=relative_rows(stream, BUCKETS, MAX_DISTANCE))
        assert plan.relations(0, torch.device("cpu")).shape == (shared, 3, 3)


def test_activation_checkpoints_keep_the_gradients() -> None:
    model, batch = batch_of()
    gradients = []
    for enabled in (False, True):
        model.networks["main"].encoder.stack.set_activation_checkpointing(enabled)
        model.zero_grad()
        model(batch).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_taps_are_those_of_the_blocks() -> None:
    model, batch = batch_of()
    (part,) = model.each()
    encoded = part.network(batch.views["main"].context, batch, layers=(1, 2), mlps=(2,), only_asked=True)
    assert not encoded.only_asked
    assert torch.equal(encoded.layers[2], encoded.features.data)
    assert encoded.mlps[2].shape == encoded.features.data.shape


def test_positions_of_several_axes_are_refused() -> None:
    context = Context(specs={"patches": TokenSpec(width=(2,), axes=2, extent=(4, 4))}, modalities=("patches",))
    with pytest.raises(ValueError, match="positions of patches have 2 axes"):
        DebertaEncoder(context, **OPTIONS)


def test_too_short_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="max_distance 3 leaves no logarithmic buckets beyond 2"):
        DebertaEncoder(IDS, **{**OPTIONS, "max_distance": 3})
