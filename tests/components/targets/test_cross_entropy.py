"""Cross-entropy in chunks against the plain one: values, gradients, and what it keeps in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.components.embeddings.table import TableEmbedding
from omnimask.components.targets.cross_entropy import cross_entropy_of, linear_cross_entropy
from omnimask.interfaces import Context, TokenSpec
from omnimask.network.heads import TiedHead

ROWS, WIDTH, VOCABULARY = 13, 6, 29
TOLERANCE = 1e-5
"""float32 on both sides, logits of size 10: epsilon 1.2e-7 times a few dozen operations."""


def parts(rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(rows, WIDTH, generator=generator) * 2, torch.randn(VOCABULARY, WIDTH, generator=generator)
    bias = torch.randn(VOCABULARY, generator=generator)
    answers = torch.randint(0, VOCABULARY, (rows,), generator=generator)
    return features.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), answers


@pytest.mark.parametrize("largest", [1, 5 * VOCABULARY, ROWS * VOCABULARY, 1 << 26])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_the_cross_entropy(largest: int, biased: bool) -> None:
    """One row, five rows, exactly all, and far more than all rows at once; every row with a slope of its own upstream."""
    features, weight, bias, answers = parts()
    offset = bias if biased else None
    found = linear_cross_entropy(features, weight, offset, answers, largest)
    wanted = functional.cross_entropy(functional.linear(features, weight, offset), answers, reduction="none")
    assert torch.allclose(found, wanted, atol=TOLERANCE)
    leaves = [features, weight, *([bias] if biased else [])]
    upstream = torch.linspace(-1, 2, ROWS)
    for again in (True, False):
        got = torch.autograd.grad(found, leaves, upstream, retain_graph=again)
        for one, right in zip(got, torch.autograd.grad(wanted, leaves, upstream, retain_graph=True), strict=True):
            assert torch.allclose(one, right, atol=TOLERANCE)


def test_no_rows() -> None:
    features, weight, bias, answers = parts(0)
    loss = linear_cross_entropy(features, weight, bias, answers)
    loss.sum().backward()
    assert loss.shape == (0,)
    assert weight.grad is not None and not weight.grad.any()


def test_only_the_head_learns_from_fixed_features() -> None:
    features, weight, bias, answers = parts()
    linear_cross_entropy(features.detach(), weight, bias, answers).sum().backward()
    assert weight.grad is not None and features.grad is None


def test_any_head_in_chunks() -> None:
    """A head that is more than a matrix, whose outputs it declares."""

    class Head(nn.Module):
        out_features = VOCABULARY

        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, features: Tensor) -> Tensor:
            assert len(features) <= 4
            return self.matrix(features).tanh()

    head, (features, _, _, answers) = Head(), parts()
    found = cross_entropy_of(features, head, answers, largest=4 * VOCABULARY)
    wanted = functional.cross_entropy(head.matrix(features).tanh(), answers, reduction="none")
    assert torch.allclose(found, wanted, atol=TOLERANCE)
    leaves = [features, *head.parameters()]
    for got, right in zip(torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(wanted.sum(), leaves), strict=True):
        assert torch.allclose(got, right, atol=TOLERANCE)


def test_low_precision_under_autocast() -> None:
    """Products in bfloat16 (epsilon 7.8e-3), sums in float32."""
    features, weight, bias, answers = parts()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(features, weight, bias, answers, 5 * VOCABULARY)
    wanted = functional.cross_entropy(functional.linear(features, weight, bias), answers, reduction="none")
    assert found.dtype == torch.float32
    assert torch.allclose(found, wanted, atol=0.2)
    found.sum().backward()
    got = weight.grad
    weight.grad = None
    wanted.sum().backward()
    assert got is not None and weight.grad is not None
    assert float((got - weight.grad).norm() / weight.grad.norm()) < 2e-2


def test_a_tied_head_scores_by_the_rows_of_the_embedding() -> None:
    spec = TokenSpec(vocabulary=7, specials=("end", "start"), answers=1)
    embedding = TableEmbedding(Context(specs={"m": spec}, modalities=("m",), width=4))
    head = TiedHead(embedding, spec.num_answers)
    features = torch.randn(3, 4)
    assert torch.equal(head(features), features @ embedding.weight[:8].t())
    assert {name for name, _ in head.named_parameters()} == {"bias"}
    with pytest.raises(ValueError, match="set tied: false"):
        TiedHead(embedding, 10)
    with pytest.raises(ValueError, match="Linear has none; set tied: false, or use the embedding table"):
        TiedHead(nn.Linear(2, 2), 10)  # type: ignore[arg-type]
