"""The convolutional decoder against torch's convolutions on grids filled by hand, one sample at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.predictors.conv_decoder import ConvDecoder
from omnimask.components.predictors.keyed import keys_of, normal
from omnimask.data.collation import collate
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import NOTHING, MaskedBatch, Sample, View
from omnimask.recipe import load_recipe
from omnimask.streams import sequence, stack, targets
from omnimask.testing.model import predictions, step
from omnimask.testing.requirements import distance
from omnimask.testing.synthetic import synthetic_recipe

TOLERANCE = 1e-5
"""Relative, in float32: another order of sums in the convolutions."""


def sequences(**options: Any) -> Built:
    """Vectors along one unbounded axis, of different lengths."""
    small = {"width": 32, "depth": 3, "kernel": 5, "groups": 4, "target": named("target", "patch")}
    predictor = named("predictor", "conv_decoder", **{**small, **options})
    return build(synthetic_recipe(predictor=predictor, corruptor=named("corruptor", "drop"), modality="vectors"))


def images(*more: str) -> Built:
    """Digits on a grid of 4 x 4 patches."""
    decoder = "{name: conv_decoder, width: 32, depth: 3, kernel: 3, groups: 4, target: {name: patch}}"
    small = ["encoder.width=32", "encoder.depth=1", "encoder.heads=2", f"predictors=[{decoder}]", *more]
    return build(load_recipe("image/digits", small))


def samples_of(built: Built, count: int = 6) -> list[Sample]:
    return built.pipeline.samples([Place(0, number, number, 0.0) for number in range(count)])[0]


def decoder_of(built: Built) -> ConvDecoder:
    (part,) = built.model.each()
    (predictor,) = part.predictors.values()
    assert isinstance(predictor, ConvDecoder)
    return predictor


def by_hand(built: Built, batch: MaskedBatch, sizes: list[tuple[int, ...]]) -> Tensor:
    """Predictions (N, outputs) of all targets, from one grid for each context sequence."""
    decoder, view = decoder_of(built), batch.views["main"]
    encoded = built.model.predict(batch)["main"].encoded
    query: Any = view.query
    found = {}
    for number, size in enumerate(sizes):
        width = encoded.features.data.shape[1]
        hidden = [slot for slot in range(query.layout.num_slots) if owner_of(query, slot) == number]
        if not hidden:
            continue
        if decoder.filling is None:
            cells = torch.arange(int(np.prod(size)))
            key = keys_of(query.noise[hidden[:1]]).expand(len(cells))
            grid = 0.01 * normal(key, cells, width)
        else:
            grid = decoder.filling.expand(int(np.prod(size)), -1).clone()
        grid = grid.reshape(*size, width)
        start, stop = encoded.stream.layout.offsets[number : number + 2].tolist()
        for slot in range(start, stop):
            place = tuple(encoded.stream.positions[slot].long().tolist())
            grid[place] = encoded.features.data[slot]
        after = blocks_by_hand(decoder, grid)
        for slot in hidden:
            found[slot] = decoder.heads[decoder.name](after[tuple(query.positions[slot].long().tolist())])
    return torch.stack([found[slot] for slot in query.targets.at[:, 0].tolist()])


def owner_of(query: Any, slot: int) -> int:
    return int(query.layout.parent[np.searchsorted(query.layout.offsets, slot, side="right") - 1])


def blocks_by_hand(decoder: ConvDecoder, grid: Tensor) -> Tensor:
    """Pad the grid with zeros and convolve without padding, one group of channels after another."""
    axes, x = grid.ndim - 1, grid.movedim(-1, 0)[None]
    convolve = functional.conv1d if axes == 1 else functional.conv2d
    for convolution in decoder.convolutions:
        c: Any = convolution
        border = c.kernel_size[0] // 2
        padded = functional.pad(x, (border, border) * axes)
        parts = zip(padded.chunk(c.groups, 1), c.weight.chunk(c.groups), c.bias.chunk(c.groups), strict=True)
        y = torch.cat([convolve(part, weight, bias) for part, weight, bias in parts], dim=1)
        mean, variance = y.mean(1, keepdim=True), y.var(1, keepdim=True, unbiased=False)
        y = functional.gelu((y - mean) / (variance + 1e-5).sqrt())
        x = y + x if decoder.residual and y.shape == x.shape else y
    return x[0].movedim(0, -1)


OPTIONS = [{}, {"width": 24}, {"residual": False}, {"fill": "learned"}, {"head_layers": 3}, {"groups": 1}]


@pytest.mark.parametrize("options", OPTIONS)
def test_sequences_by_hand(options: dict[str, Any]) -> None:
    built = sequences(**options)
    samples = samples_of(built)
    batch = built.pipeline.pack(samples)
    sizes = [(len(sample),) for sample in samples]
    assert len(set(sizes)) > 3
    (found,) = predictions(built.model, batch).values()
    assert distance(found, by_hand(built, batch, sizes)) < TOLERANCE


def test_images_by_hand() -> None:
    built = images()
    batch = built.pipeline.pack(samples_of(built))
    (found,) = predictions(built.model, batch).values()
    assert distance(found, by_hand(built, batch, [(4, 4)] * 6)) < TOLERANCE


def test_tokens_that_are_neither_seen_nor_asked_for_keep_their_cells() -> None:
    built = images("modalities.image.corruptor.ask=0.5")
    batch = built.pipeline.pack(samples_of(built))
    (found,) = predictions(built.model, batch).values()
    assert len(found) == 6 * 4
    assert distance(found, by_hand(built, batch, [(4, 4)] * 6)) < TOLERANCE


@pytest.mark.parametrize("make", [sequences, images])
def test_packed_equals_one_by_one_and_any_split(make: Any) -> None:
    built = make()
    samples = samples_of(built)
    whole = built.pipeline.pack(samples)
    (found,) = predictions(built.model, whole).values()
    each = torch.cat([next(iter(predictions(built.model, built.pipeline.pack([one])).values())) for one in samples])
    assert distance(found, each) < 1e-6
    _, gradient = step(built.model, [whole])
    for size in (1, 2, 4):
        parts = [built.pipeline.pack(samples[start : start + size]) for start in range(0, len(samples), size)]
        assert distance(step(built.model, parts)[1], gradient) < 1e-6


def several(built: Built, samples: list[Sample], times: int) -> MaskedBatch:
    """A batch in which every sample has several context sequences, with masks of their own, and a query for each."""
    views = []
    for sample in samples:
        contexts, queries = [], []
        for number in range(times):
            is_hidden = sample.draw.at("again", number).uniform(len(sample)) < 0.5
            is_hidden[0], is_hidden[-1] = True, False
            contexts.append(sequence(sample, np.flatnonzero(~is_hidden)))
            hidden = np.flatnonzero(is_hidden)
            table = targets(np.arange(len(hidden)), hidden)
            queries.append(sequence(sample, hidden, literal=np.full(len(hidden), NOTHING), targets=table))
        context, query = stack(contexts), stack(queries)
        query = dataclasses.replace(query, layout=dataclasses.replace(query.layout, parent=np.arange(times)))
        query = dataclasses.replace(query, noise=sample.draw.at("noise").uniform(query.layout.num_slots))
        views.append({"main": View(context, query)})
    return collate(samples, views, built.specs)


@pytest.mark.parametrize("make", [sequences, images])
def test_several_sequences_of_a_sample(make: Any) -> None:
    built = make()
    samples = [sample for sample in samples_of(built) if len(sample) > 2]
    batch = several(built, samples, 3)
    sizes = [(len(sample),) if make is sequences else (4, 4) for sample in samples for _ in range(3)]
    assert batch.views["main"].context.layout.num_sequences == len(sizes)
    (found,) = predictions(built.model, batch).values()
    assert distance(found, by_hand(built, batch, sizes)) < TOLERANCE


def test_noise_is_keyed_and_normal() -> None:
    keys = keys_of(torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    drawn = normal(keys, torch.arange(64), 1024)
    assert abs(float(drawn.mean())) < 5 / 256
    assert abs(float(drawn.std()) - 1) < 5 / 256
    assert abs(float((drawn < -1).double().mean()) - 0.158655) < 5 * 0.3654 / 256
    assert torch.equal(normal(keys[5:6], torch.tensor([5]), 1024)[0], drawn[5])  # whatever else is drawn
    assert not torch.equal(normal(keys[5:6], torch.tensor([6]), 1024)[0], drawn[5])
    assert torch.isfinite(normal(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 1 << 16)).all()


def test_torchs_generator_is_not_used() -> None:
    built = sequences()
    batch = built.pipeline.pack(samples_of(built))
    state = torch.get_rng_state()
    predictions(built.model, batch)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="kernel 4 has no center; choose an odd one: 5"):
        sequences(kernel=4)
    with pytest.raises(UserError, match="groups 5 do not divide the encoder's width 32"):
        sequences(groups=5)
    with pytest.raises(UserError, match="groups 8 do not divide width 12"):
        sequences(groups=8, width=12)
    native = ["modalities.image.tokenizer={name: image.native, patch_size: 2, channels: 1}"]
    with pytest.raises(UserError, match=r"needs a grid, but 'image' has 2 position axes with extent \[None, None\]"):
        images(*native)


def test_a_position_outside_the_grid_is_an_error() -> None:
    built = sequences()
    (sample, *_) = samples_of(built)
    (name,) = sample.tokens
    tokens = sample.tokens[name]
    moved = dataclasses.replace(tokens, positions=np.asarray(tokens.positions) + 3)
    batch = built.pipeline.pack([dataclasses.replace(sample, tokens={name: moved})])
    with pytest.raises(ValueError, match=r"lies outside a sample of \d+ tokens; it needs whole positions that count from 0"):
        built.model(batch)
