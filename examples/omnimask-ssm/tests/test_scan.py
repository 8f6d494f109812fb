"""Tests of the scan against a sequential recurrence."""

import dataclasses

import numpy as np
import pytest
import torch

import omnimask
from omnimask.interfaces import Context, Layout
from omnimask_ssm.encoder import SelectiveEncoder
from omnimask_ssm.scan import backwards, scan

LENGTHS = [[1], [5], [0, 3, 0, 1, 8, 2, 0], [64, 1, 33], [0], []]


def layout(lengths):
    return Layout(np.array(lengths, np.int64), np.arange(len(lengths)))


def one_by_one(decay, value, lengths):
    """Compute the recurrence slot by slot."""
    states, at = [], 0
    for length in lengths:
        state = torch.zeros_like(value[0]) if length else None
        for slot in range(at, at + length):
            state = decay[slot] * state + value[slot]
            states.append(state)
        at += length
    return torch.stack(states) if states else value


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_states_and_gradients_are_those_of_the_recurrence(lengths) -> None:
    rng = torch.Generator().manual_seed(0)
    total = sum(lengths)
    decay = torch.rand(total, 3, generator=rng, dtype=torch.float64).requires_grad_()
    value = torch.randn(total, 3, generator=rng, dtype=torch.float64).requires_grad_()
    weight = torch.randn(total, 3, generator=rng, dtype=torch.float64)
    found, expected = scan(decay, value, layout(lengths)), one_by_one(decay, value, lengths)
    torch.testing.assert_close(found, expected)
    if total:
        for mine, right in zip(
            torch.autograd.grad((found * weight).sum(), (decay, value)),
            torch.autograd.grad((expected * weight).sum(), (decay, value)),
            strict=True,
        ):
            torch.testing.assert_close(mine, right)


def test_neighbours_change_nothing_to_the_bit() -> None:
    rng = torch.Generator().manual_seed(0)
    decay, value = torch.rand(60, 4, generator=rng), torch.randn(60, 4, generator=rng)
    whole = scan(decay, value, layout([7, 40, 13]))
    alone = scan(decay[7:47], value[7:47], layout([40]))
    assert torch.equal(whole[7:47], alone)
    assert torch.equal(whole[47:], scan(decay[47:], value[47:], layout([13])))


def test_backwards_is_the_recurrence_from_behind() -> None:
    rng = torch.Generator().manual_seed(0)
    decay, value = torch.rand(9, 2, generator=rng), torch.randn(9, 2, generator=rng)
    turned = scan(decay.flip(0), value.flip(0), backwards(layout([4, 5]))).flip(0)
    each = [scan(decay[part].flip(0), value[part].flip(0), layout([n])).flip(0) for part, n in ((slice(0, 4), 4), (slice(4, 9), 5))]
    torch.testing.assert_close(turned, torch.cat(each))


@pytest.fixture(scope="module")
def built():
    return omnimask.build(omnimask.load_recipe("ssm", ["encoder.width=16", "encoder.depth=1", "encoder.states=4"]))


def encoded(built, stream, data):
    encoder = built.model.passes["main"].encoder
    from omnimask.interfaces import Packed

    return encoder(Packed(data, stream.layout), stream, None).features.data


def test_causal_streams_see_nothing_of_the_future(built) -> None:
    stream = next(iter(built.validation_batches())).views["main"].context
    data = torch.randn(stream.layout.num_slots, 16, generator=torch.Generator().manual_seed(0))
    changed = data.clone()
    changed[5] *= -1
    for attention, moved in (("full", range(16)), ("causal", range(5, 16))):
        seen = dataclasses.replace(stream, layout=dataclasses.replace(stream.layout, attention=attention))
        with torch.no_grad():
            difference = (encoded(built, seen, changed) - encoded(built, seen, data)).abs().sum(1) > 0
        assert difference.nonzero().squeeze(1).tolist() == list(moved)


def test_what_cannot_be_served_is_refused(built) -> None:
    stream = next(iter(built.validation_batches())).views["main"].context
    ranked = dataclasses.replace(stream, layout=dataclasses.replace(stream.layout, attention="ranked"))
    with pytest.raises(ValueError, match="follows the order of slots"):
        encoded(built, ranked, torch.zeros(stream.layout.num_slots, 16))
    rotary = omnimask.build(omnimask.load_recipe("ssm", ["encoder.position={name: alibi}"]))
    with pytest.raises(ValueError, match="no attention to rotate or to bias"):
        rotary.model(next(iter(rotary.validation_batches())))


def test_nothing_in_the_network_attends(built) -> None:
    names = {type(module).__module__ for module in built.model.modules()}
    assert not {
        name
        for name in names
        if "attention" in name or name in ("omnimask.network.blocks", "omnimask.components.encoders.transformer")
    }
    assert isinstance(built.model.passes["main"].encoder, SelectiveEncoder)
    assert SelectiveEncoder(Context(), width=8, depth=1, position=lambda context: None).num_summary == 0
