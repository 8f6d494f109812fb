"""Options of the encoder: norms, MLPs, query-key norms, registers, stochastic depth. Formulas are written out again here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.data.planner import Place
from omnimask.interfaces import Layout
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, OutputRows, SelfAttention, Stack, initialise
from omnimask.network.layers import GLU, draw_kept, drop_path_rates, make_mlp, swiglu_width
from omnimask.testing.synthetic import synthetic_recipe

LAYOUT = Layout(np.array([3, 0, 5, 3]), np.arange(4))
SLOTS = LAYOUT.num_slots


def built(**options: Any) -> Built:
    sizes = {"width": 32, "depth": 3, "heads": 2, "position": named("position", "rotary")}
    return build(synthetic_recipe(encoder=Component("encoder", "transformer", {**sizes, **options}), modality="vectors"))


def batch_of(part: Built, count: int = 6) -> Any:
    return part.pipeline.pack([part.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def inputs(width: int = 16) -> Tensor:
    return torch.randn(SLOTS, width, generator=torch.Generator().manual_seed(0))


def test_a_gated_mlp_has_as_many_weights_as_a_plain_one() -> None:
    assert [swiglu_width(hidden) for hidden in (3072, 24, 25, 1)] == [2048, 16, 24, 8]
    count = [
        sum(p.numel() for n, p in make_mlp(kind, 768, 3072).named_parameters() if "weight" in n) for kind in ("gelu", "swiglu")
    ]
    assert count[0] == count[1]


def test_swiglu_is_its_formula() -> None:
    layer, x = GLU(16, 24, functional.silu), inputs()
    gate, value = x @ layer.gate_value.weight[:24].T, x @ layer.gate_value.weight[24:].T
    gate, value = gate + layer.gate_value.bias[:24], value + layer.gate_value.bias[24:]
    expected = (gate / (1 + (-gate).exp()) * value) @ layer.out.weight.T + layer.out.bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_rms_norms_neither_centre_nor_shift() -> None:
    part = built(norm="rms", norm_eps=1e-5)
    assert not [name for name, _ in part.model.named_parameters() if "encoder" in name and "norm" in name and name.endswith("bias")]
    norm: Any = part.model.each()[0].encoder
    x = inputs(32)
    torch.testing.assert_close(norm.norm(x), x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt())


def test_normalised_queries_and_keys_do_not_grow_with_the_features() -> None:
    """Scaling the query and key matrices changes nothing once both are normalised (the biases are zero)."""
    plan, x = AttentionPlan(LAYOUT), inputs()
    for kind, is_same in (("rms", True), ("layer", True), (None, False)):
        attention: Any = SelfAttention(16, 2, kind, 1e-12)
        initialise(attention)
        before = attention(x, plan, None)
        with torch.no_grad():
            attention.qkv.weight[:32] *= 5
        assert torch.allclose(before, attention(x, plan, None), atol=1e-5) == is_same


def test_registers_take_part_and_are_discarded() -> None:
    part = built(summary=1, registers=3)
    encoder: Any = part.model.each()[0].encoder
    encoded = part.model.predict(batch_of(part))["main"].encoded
    assert encoder.num_summary == 1
    assert encoded.summary is not None and encoded.summary.shape == (6, 1, 32)
    assert len(encoded.features.data) == encoded.stream.layout.num_slots
    with torch.no_grad():
        encoder.registers.copy_(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)))
    moved = part.model.predict(batch_of(part))["main"].encoded
    assert not torch.allclose(moved.features.data, encoded.features.data, atol=1e-3)
    assert built(registers=2).model.predict(batch_of(part))["main"].encoded.summary is None


def test_registers_are_summary_tokens_that_nobody_reads() -> None:
    """The same function, whichever of the learned tokens are called registers."""
    one, three = built(summary=1, registers=2), built(summary=3)
    state = one.model.state_dict()
    joined = {
        **state,
        "networks.main.encoder.summary": torch.cat([state.pop(f"networks.main.encoder.{n}") for n in ("summary", "registers")]),
    }
    joined.pop("networks.main.encoder.registers")
    three.model.load_state_dict(joined, strict=True)
    left, right = (part.model.predict(batch_of(part))["main"].encoded for part in (one, three))
    assert torch.equal(left.features.data, right.features.data)
    assert left.summary is not None and right.summary is not None and torch.equal(left.summary[:, 0], right.summary[:, 0])


def test_the_rates_of_stochastic_depth_grow_linearly() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_branches_are_dropped_by_the_sequence_and_keep_their_expectation() -> None:
    plan = AttentionPlan(LAYOUT)
    sequence = plan.sequence(torch.device("cpu"))
    assert sequence.tolist() == [0] * 3 + [2] * 5 + [3] * 3
    torch.manual_seed(0)
    draws = torch.stack([draw_kept(0.25, 3, 4, sequence) for _ in range(4000)])[..., 0]
    assert draws.unique().tolist() == pytest.approx([0.0, 4 / 3])
    for number in (0, 2, 3):
        of_sequence = draws[:, :, sequence == number]
        assert torch.equal(of_sequence, of_sequence[:, :, :1].expand_as(of_sequence))
    # standard error of a mean of 4,000 draws: sqrt(.25 / .75 / 4000) = 0.009
    assert (draws.mean(0) - 1).abs().max() < 0.05
    assert not torch.equal(draws[:, 0], draws[:, 1]) and not torch.equal(draws[:, :, 0], draws[:, :, -1])


def test_a_dropped_sequence_passes_a_block_unchanged() -> None:
    block, x, plan = Block(16, 2), inputs(), AttentionPlan(LAYOUT)
    kept = torch.ones(3, SLOTS, 1)
    kept[:, 3:8] = 0
    out, whole = block(x, plan, kept=kept), block(x, plan)
    assert torch.equal(out[3:8], x[3:8])
    torch.testing.assert_close(out[:3], whole[:3])


def test_stochastic_depth_is_for_training_and_follows_the_generator() -> None:
    part = built(drop_path=0.5)
    batch = batch_of(part)
    model = part.model.train()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model(batch).loss.item())
    assert losses[0] == losses[1] != losses[2]
    model.eval()
    state = torch.get_rng_state()
    assert model(batch).loss.item() == model(batch).loss.item()
    assert torch.equal(state, torch.get_rng_state())


def test_recomputed_blocks_drop_the_same_sequences() -> None:
    part = built(drop_path=0.5, summary=1)
    batch, stack = batch_of(part), part.model.train().each()[0].encoder.stack
    gradients = []
    for is_recomputed in (False, True):
        stack.set_activation_checkpointing(is_recomputed)  # pyright: ignore[reportCallIssue]
        part.model.zero_grad()
        torch.manual_seed(0)
        part.model(batch).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in part.model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rotary", [False, True])
def test_the_last_block_may_answer_for_some_rows_only(rotary: bool) -> None:
    """Output and all gradients are those of the whole block; float32 sums over other numbers of rows differ by a few epsilons."""
    torch.manual_seed(0)
    stack = Stack([Block(16, 2, qk_norm=rotary, norm="rms" if rotary else "layer") for _ in range(2)]).double()
    angle = torch.rand(SLOTS, 4, dtype=torch.float64).repeat(1, 2)
    rotation = (angle.cos(), angle.sin()) if rotary else None
    index = torch.tensor([1, 2, 4, 7, 10])
    rows = OutputRows(index, AttentionPlan(Layout(np.array([2, 0, 2, 1]), np.arange(4)), LAYOUT))
    results = []
    for asked in (None, rows):
        x = inputs().double().requires_grad_()
        out, _ = stack(x, AttentionPlan(LAYOUT), rotation, rows=asked)
        out = out[index] if asked is None else out
        parameters = [x, *stack.parameters()]
        results.append([out, *torch.autograd.grad(out.square().sum(), parameters)])
    for whole, some in zip(*results, strict=True):
        torch.testing.assert_close(some, whole, rtol=1e-12, atol=1e-12)
