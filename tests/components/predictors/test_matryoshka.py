"""A predictor at several sizes: what it reads of the encoder, its terms, and the divergence from the largest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.predictors.matryoshka import divergence
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import MaskedBatch
from omnimask.testing.synthetic import synthetic_recipe

SIZES = ((1, 8), (2, 32))


def made(inner: Any = None, query: str | None = None, **options: Any) -> tuple[Built, MaskedBatch]:
    inner = inner or named("predictor", "mlm")
    predictor = named("predictor", "matryoshka", inner=inner, **{"sizes": SIZES, **options})
    built = build(synthetic_recipe(predictor=predictor, query=query))
    return built, built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(6)])


def test_one_term_for_each_size_with_equal_counts() -> None:
    built, data = made()
    counts, terms = built.model.counts(data), built.model(data).terms
    assert list(counts) == list(terms) == ["matryoshka.1x8", "matryoshka.2x32"]
    assert len(set(counts.values())) == 1


@torch.no_grad()
def test_the_largest_size_is_the_inner_predictor_alone() -> None:
    built, data = made()
    plain = build(synthetic_recipe(predictor=named("predictor", "mlm")))
    state = {name.replace("matryoshka.inner.", "mlm."): value for name, value in built.model.state_dict().items()}
    plain.model.load_state_dict(state)
    assert torch.allclose(built.model(data).terms["matryoshka.2x32"], plain.model(data).terms["mlm"], rtol=1e-6)


@torch.no_grad()
def test_a_small_size_reads_its_columns_alone() -> None:
    """The head's linear layer at the first 8 columns, on the first 8 numbers of the first layer."""
    built, data = made()
    part = built.model.eval().each()[0]
    result, inner = part(data, {}), next(iter(part.predictors.values())).inner  # pyright: ignore[reportAttributeAccessIssue]
    prediction = result.predictions["matryoshka.1x8"]
    at = prediction.targets.at[:, 0]
    dense = torch.nn.functional.linear(result.encoded.layers[1][at, :8], inner.dense.weight[:, :8], inner.dense.bias)
    assert torch.allclose(prediction.features, inner.norm(torch.nn.functional.gelu(dense)), atol=1e-6)


def test_the_gradient_of_a_small_size_reaches_nothing_beyond_it() -> None:
    built, data = made(sizes=((1, 8),))
    built.model(data).loss.backward()
    encoder: Any = built.model.each()[0].encoder
    first, second = encoder.stack.blocks
    assert first.mlp[2].weight.grad[:8].any() and all(p.grad is None or not p.grad.any() for p in second.parameters())
    assert not first.mlp[2].weight.grad[8:].any()


@pytest.mark.parametrize("largest", [7, 1 << 20])
def test_divergence_and_gradient_are_those_of_the_definition(largest: int) -> None:
    built, data = made(distance=0.5)
    found = built.model.train().predict(data)["main"].predictions
    small, large = found["matryoshka.1x8"], found["matryoshka.2x32"]
    p, q = (each.head(each.features).double().softmax(1) for each in (large, small))
    expected = (p.detach() * (p.detach() / q).log()).sum(1)
    value = divergence(large, small, 7, largest)
    assert torch.allclose(value.double(), expected, atol=1e-6)
    parameters = list(built.model.parameters())
    grads = [torch.autograd.grad(v.sum(), parameters, retain_graph=True, allow_unused=True) for v in (value, expected)]
    for left, right in zip(*grads, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            assert torch.allclose(left, right, atol=1e-5 * float(right.abs().max().clamp(min=1)))


def test_the_divergence_is_a_weighted_term_of_its_own() -> None:
    one, two = (made(distance=d) for d in (0.25, 0.5))
    with torch.no_grad():
        terms = [built.model(data).terms for built, data in (one, two)]
    assert list(terms[0]) == ["matryoshka.1x8", "matryoshka.1x8.distance", "matryoshka.2x32"]
    assert 2 * terms[0]["matryoshka.1x8.distance"].item() == pytest.approx(terms[1]["matryoshka.1x8.distance"].item(), rel=1e-5)
    assert one[0].model.counts(one[1]).keys() == set(terms[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ((2, 8), (1, 32))}, r"\[\[2, 8\], \[1, 32\]\] must be distinct and increasing"),
        ({"sizes": ((1, 8), (1, 8))}, "must be distinct and increasing"),
        ({"sizes": ()}, "must be distinct and increasing"),
        ({"sizes": ((3, 8),)}, r"encoder \(2 layers, width 32\)"),
        ({"sizes": ((2, 64),)}, r"encoder \(2 layers, width 32\)"),
    ],
)
def test_sizes_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**options)


def test_a_query_needs_a_predictor_that_decodes_one() -> None:
    with pytest.raises(UserError, match="query: again"):
        made(query="again")
    with pytest.raises(UserError, match="matryoshka reads the query stream,"):
        made(inner=named("predictor", "bottleneck", heads=2))
