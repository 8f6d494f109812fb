"""A masked autoencoder's loss on one image that is not square, computed again in plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import Built, build
from omnimask.interfaces import Draw, Sample
from omnimask.recipe import load_recipe

RECIPE = """\
omnimask: 1
modalities:
  image:
    tokenizer: {name: image.patch, image_size: [6, 12], patch_size: [3, 2]}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 2, heads: 2, summary: 1}
predictors:
  - {name: decoder, width: 8, depth: 1, heads: 2, target: {name: patch, normalize: true}}
data: {name: digits}
train: {steps: 1, batch_tokens: 12, optimizer: {name: adamw, lr: 1.0e-3}}
"""
ROWS, COLUMNS, P, Q = 2, 6, 3, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def built(tmp_path: Path) -> Built:
    file = tmp_path / "mae.yaml"
    file.write_text(RECIPE)
    return build(load_recipe(file))


def table(width: int) -> Tensor:
    """(12, width): a quarter sines and a quarter cosines of the column, then of the row."""
    out = torch.zeros(ROWS * COLUMNS, width, dtype=torch.float64)
    quarter = width // 4
    for row in range(ROWS):
        for column in range(COLUMNS):
            for i in range(quarter):
                frequency = 10000 ** (-i / quarter)
                numbers = (
                    math.sin(column * frequency),
                    math.cos(column * frequency),
                    math.sin(row * frequency),
                    math.cos(row * frequency),
                )
                for part, number in enumerate(numbers):
                    out[row * COLUMNS + column, part * quarter + i] = number
    return out


def linear(x: Tensor, layer: Any) -> Tensor:
    return x @ layer.weight.double().T + layer.bias.double()


def norm(x: Tensor, layer: Any) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * layer.weight.double() + layer.bias.double()


def block(x: Tensor, part: Any, heads: int) -> Tensor:
    width = x.shape[1]
    size = width // heads
    qkv = linear(norm(x, part.norm_attention), part.attention.qkv)
    mixed = torch.zeros_like(x)
    for head in range(heads):
        query, key, value = (qkv[:, third * width + head * size : third * width + (head + 1) * size] for third in range(3))
        for i in range(len(x)):
            scores = [math.exp(float(query[i] @ key[j]) / math.sqrt(size)) for j in range(len(x))]
            for j in range(len(x)):
                mixed[i, head * size : (head + 1) * size] += scores[j] / sum(scores) * value[j]
    x = x + linear(mixed, part.attention.project)
    first, second = (layer for layer in part.mlp if isinstance(layer, nn.Linear))
    hidden = linear(norm(x, part.norm_mlp), first)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear(hidden, second)


def patches(pixels: np.ndarray) -> Tensor:
    """(12, 18): row after row of patches, in each row after row of pixels, channels last."""
    out = torch.zeros(ROWS * COLUMNS, P * Q * 3, dtype=torch.float64)
    for row in range(6):
        for column in range(12):
            for channel in range(3):
                patch, inside = row // P * COLUMNS + column // Q, (row % P * Q + column % Q) * 3 + channel
                out[patch, inside] = (pixels[row, column, channel] / 255 - MEAN[channel]) / STD[channel]
    return out


@torch.no_grad()
def loss_by_hand(model: Any, pixels: np.ndarray, hidden: list[int]) -> float:
    main = model.passes["main"]
    encoder, decoder, embedding = main.encoder, main.predictors["decoder"], main.embeddings["image"]
    visible = [place for place in range(ROWS * COLUMNS) if place not in hidden]
    content = patches(pixels)
    x = linear(content[visible], embedding.project) + table(16)[visible]
    x = torch.cat([encoder.summary.double(), x])
    for part in encoder.stack.blocks:
        x = block(x, part, 2)
    x = linear(norm(x, encoder.norm), decoder.project)
    positions = table(8)
    places = [*visible, *hidden]
    asked = decoder.mask_vector.double().repeat(len(hidden), 1)
    x = torch.cat([x[:1], torch.cat([x[1:], asked]) + positions[places]])
    x = block(x, decoder.stack.blocks[0], 2)
    predicted = linear(norm(x, decoder.norm), decoder.heads["image"])
    total = 0.0
    for number, place in enumerate(hidden):
        answer = content[place]
        mean = answer.mean()
        variance = ((answer - mean) ** 2).sum() / (len(answer) - 1)
        answer = (answer - mean) / math.sqrt(float(variance) + 1e-6)
        total += float(((predicted[1 + len(visible) + number] - answer) ** 2).mean())
    return total / len(hidden)


def test_loss_of_an_image_that_is_not_square(built: Built) -> None:
    """Float32 against float64: 1e-5 relative is some 80 epsilons over three blocks."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 12, 3), np.uint8)
    draw = Draw(0, 0, "one")
    tokenizer = built.tokenizers["image"]
    sample = Sample({"image": tokenizer(pixels, draw)}, draw, ("image",))
    batch = built.pipeline.pack([sample])
    query = batch.views["main"].query
    assert query is not None
    hidden = query.targets.of.tolist()
    assert len(hidden) == 6
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.model.parameters():  # zero biases and unit norms would hide a mistake
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    assert built.model(batch).loss.item() == pytest.approx(loss_by_hand(built.model, pixels, hidden), rel=1e-5)
