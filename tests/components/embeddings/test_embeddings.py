"""Embeddings: scaling, special rows, soft ids, refusals."""

from __future__ import annotations

import pytest
import torch

from omnimask.components.embeddings.content import ContentScale
from omnimask.components.embeddings.linear import LinearEmbedding
from omnimask.components.embeddings.table import TableEmbedding
from omnimask.interfaces import Context, TokenSpec

PIXELS = TokenSpec(width=(2, 2, 3), dtype="uint8", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), specials=("mask", "end"))
IDS = TokenSpec(vocabulary=5, specials=("mask",))


def context(spec: TokenSpec) -> Context:
    return Context(specs={"m": spec}, modalities=("m",), width=8)


def test_scale_broadcasts_over_the_last_axis_and_back() -> None:
    content = torch.randint(0, 256, (7, 2, 2, 3), dtype=torch.uint8)
    scale = ContentScale(PIXELS)
    scaled = scale(content)
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled[..., 1], (content[..., 1].float() - 20) / 2)
    assert torch.allclose(scale.inverse(scaled), content.float(), atol=1e-4)


def test_linear_maps_scaled_content() -> None:
    embedding = LinearEmbedding(context(PIXELS))
    content = torch.randint(0, 256, (7, 2, 2, 3), dtype=torch.uint8)
    wanted = embedding.scale(content).flatten(1) @ embedding.project.weight.T + embedding.project.bias
    assert torch.allclose(embedding(content), wanted, atol=1e-5)
    assert embedding.special is not None
    assert torch.equal(embedding.ids(torch.tensor([1, 0])), embedding.special[[1, 0]])
    with pytest.raises(ValueError, match="declares a special token"):
        LinearEmbedding(context(TokenSpec(width=(2,)))).ids(torch.tensor([0]))


def test_table_has_rows_for_ids_then_specials() -> None:
    table = TableEmbedding(context(IDS))
    assert table.weight.shape == (6, 8)
    assert torch.equal(table.ids(torch.tensor([IDS.id("mask")])), table.weight[5:])
    assert torch.equal(table(torch.tensor([3, 3])), table.weight[[3, 3]])


def test_soft_ids_are_weighted_means() -> None:
    table = TableEmbedding(context(IDS))
    share = torch.tensor([[0.25, 0.0, 0.75, 0.0, 0.0]])
    assert torch.allclose(table(share), 0.25 * table.weight[:1] + 0.75 * table.weight[2:3])
    assert torch.equal(table(torch.eye(5)), table(torch.arange(5)))


def test_embeddings_refuse_the_other_kind_of_tokens() -> None:
    with pytest.raises(ValueError, match="use table"):
        LinearEmbedding(context(IDS))
    with pytest.raises(ValueError, match="use linear"):
        TableEmbedding(context(PIXELS))
