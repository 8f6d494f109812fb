"""The bag of ids: scores and gradients of the definition, what counts and what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.predictors.bag_of_words import UNSEEN, best_scores
from omnimask.data.planner import Place
from omnimask.interfaces import MaskedBatch, Run
from omnimask.testing.synthetic import synthetic_recipe

LENGTHS = [3, 0, 7, 1]


def test_best_scores_and_gradients_are_those_of_a_dense_maximum() -> None:
    torch.manual_seed(0)
    counts = torch.rand(11) > 0.3
    counts[-1] = True
    weights = torch.randn(4, 19)

    def gradients(chunked: bool) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        leaves = [torch.randn(*shape, generator=generator, requires_grad=True) for shape in ((11, 5), (19, 5), (19,))]
        features, weight, bias = leaves
        if chunked:
            found = best_scores(features, weight, bias, counts, LENGTHS)
        else:
            scores = (features @ weight.t()).masked_fill(~counts[:, None], UNSEEN)
            rows = [part.amax(0) if len(part) else torch.full((19,), UNSEEN) for part in scores.split(LENGTHS)]
            found = torch.stack(rows) + bias
        (found * weights).sum().backward()
        return [found.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    for left, right in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(left, right, rtol=1e-6, atol=1e-6)


def one(**options: object) -> tuple[Built, MaskedBatch]:
    built = build(synthetic_recipe(predictor=named("predictor", "bag_of_words", **options)))
    return built, built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(5)])


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_loss_is_the_mean_over_sequences_of_the_cross_entropy_with_the_set(pool: str) -> None:
    built, data = one(pool=pool)
    with torch.no_grad():
        results = built.model.predict(data)
        (prediction,) = results["main"].predictions.values()
        log_p = prediction.head(prediction.features).log_softmax(1)
        ids = data.store["letters"].data.split(data.store["letters"].layout.lengths.tolist())
        expected = torch.stack([-row[part.unique()].sum() / len(part) for row, part in zip(log_p, ids, strict=True)]).mean()
        assert built.model(data).loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert built.model.counts(data) == {"bag_of_words": 5.0}


def test_a_frame_is_neither_scored_nor_asked_for() -> None:
    """With the second letter of every sample declared a frame, its slot may say what it likes."""
    built, data = one()
    offsets = data.store["letters"].layout.offsets[:-1]
    special = np.zeros(data.num_tokens, bool)
    special[offsets + 1] = True
    framed = MaskedBatch(
        data.store, data.base, data.views, data.group, data.keys, {"letters": {"special": torch.from_numpy(special)}}
    )
    part = built.model.each()[0]
    predictor = next(iter(part.predictors.values()))
    view = framed.views["main"]
    with torch.no_grad():
        encoded = part(framed, {}).encoded
        before = predictor.predict(encoded, view, Run(framed, {}))["bag_of_words"]
        encoded.features.data[torch.from_numpy(special)] += 100 * torch.randn(5, 32)
        after = predictor.predict(encoded, view, Run(framed, {}))["bag_of_words"]
        assert torch.equal(before.features, after.features)
        answers = predictor.target("letters").answers(before, Run(framed, {}))
    ids, lengths = data.store["letters"].data, data.store["letters"].layout.lengths
    for row, (start, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
        rest = torch.cat([ids[start : start + 1], ids[start + 2 : start + length]])
        assert sorted(answers[row].nonzero().squeeze(1).tolist()) == rest.unique().tolist()
        assert answers[row].max().item() == pytest.approx(1 / len(rest))
