"""Smoothed answers: a dense reference, chunks, no gradient to the probe, and what is said where the pass does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.targets.smoothed import smoothed_cross_entropy
from omnimask.data.planner import Place
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import MaskedBatch
from omnimask.network.heads import TiedHead
from omnimask.recipe import Recipe
from omnimask.recipe.config import PassConfig, ViewConfig
from omnimask.testing.synthetic import synthetic_recipe

SHARE, N, D, V = 0.3, 23, 8, 37
KEEP = named("corruptor", "keep")


def parts(tied: bool) -> tuple[Tensor, nn.Module, Tensor, Tensor]:
    """Features, a head, answers and probed features."""
    torch.manual_seed(0)
    table = nn.Embedding(V + 2, D)
    head = TiedHead(table, V) if tied else nn.Sequential(nn.Linear(D, V), nn.Tanh())  # pyright: ignore[reportArgumentType]
    return torch.randn(N, D, requires_grad=True), head, torch.randint(V, (N,)), torch.randn(N, D, requires_grad=True)


def dense(features: Tensor, head: nn.Module, answers: Tensor, probed: Tensor | None) -> Tensor:
    """(N,) by the definition, in float64."""
    log_p = head(features).double().log_softmax(1)
    other = torch.full_like(log_p, 1 / V) if probed is None else head(probed).double().softmax(1).detach()
    wanted = (1 - SHARE) * nn.functional.one_hot(answers, V) + SHARE * other
    return -(wanted * log_p).sum(1)


@pytest.mark.parametrize("is_probed", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("largest", [1, 5 * V, 1000 * V])
def test_loss_and_gradients_are_those_of_the_definition(largest: int, tied: bool, is_probed: bool) -> None:
    gradients = []
    for chunked in (True, False):
        features, head, answers, probed = parts(tied)
        other = probed if is_probed else None
        if chunked:
            found = smoothed_cross_entropy(features, head, answers, SHARE, other, V, largest)
        else:
            found = dense(features, head, answers, other)
        (found * torch.arange(1, N + 1)).sum().backward()
        assert probed.grad is None
        weights = [p.grad for p in (head._tied_to[0] if isinstance(head, TiedHead) else head).parameters()]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        gradients.append([found.detach().double(), features.grad, *weights])
    for left, right in zip(*gradients, strict=True):
        assert (left - right).abs().max() <= 1e-6 * right.abs().max().clamp(min=1)


def test_nothing_given_away_is_the_plain_loss() -> None:
    features, head, answers, probed = parts(tied=True)
    plain = nn.functional.cross_entropy(head(features), answers, reduction="none")
    for other in (None, probed):
        assert torch.allclose(smoothed_cross_entropy(features, head, answers, 0.0, other, V), plain, atol=1e-6)


# ---- in a model


def recipe(share: float = 0.5, **view: Any) -> Recipe:
    """A predictor is asked about the same tokens before, where they are shown."""
    found = synthetic_recipe(target=named("target", "smoothed", share=share, probe="probe"))
    shown = ViewConfig("shown", None, **{"maskers": {}, "corruptor": KEEP, "draw": None, **view})
    return replace(found, views={"shown": shown}, passes=(PassConfig("probe", "shown", predictors=("in_place",)),))


def batch(built: Built, count: int = 8, epoch: int = 0) -> MaskedBatch:
    return built.pipeline.pack([built.pipeline.sample(Place(epoch, i, i, 0.0)) for i in range(count)])


def test_the_share_goes_to_what_the_predictor_says_of_the_shown_tokens() -> None:
    built = build(recipe())
    data = batch(built)
    with torch.no_grad():
        results = built.model.predict(data)
        main, probe = results["main"].predictions["in_place"], results["probe"].predictions["in_place"]
        assert not torch.equal(main.features, probe.features)
        log_p, other = main.head(main.features).log_softmax(1), probe.head(probe.features).softmax(1)
        ids = data.store["letters"].data[main.targets.of]
        expected = -(0.5 * log_p.gather(1, ids[:, None]).squeeze(1) + 0.5 * (other * log_p).sum(1)).mean()
        assert built.model(data).terms["in_place"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_it_trains_and_answers_are_softer_than_without() -> None:
    """Of 8 samples, masked anew in every step: right answers become the likeliest, and not certain ones."""
    certain = {}
    for share in (0.0, 0.5):
        built = build(recipe(share))
        optimizer = torch.optim.AdamW(built.model.parameters(), lr=3e-3)
        losses, accuracy = [], 0.0
        for epoch in range(150):
            output = built.model(batch(built, epoch=epoch), is_scored=True)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            losses.append(output.loss.item())
            score = output.scores["in_place"]["accuracy"]
            accuracy = score.total.item() / score.count
        assert losses[-1] < 0.7 * losses[0]
        assert accuracy > 0.5
        prediction = built.model.predict(batch(built, epoch=150))["main"].predictions["in_place"]
        certain[share] = prediction.head(prediction.features).softmax(1).amax(1).mean().item()
    assert certain[0.5] < certain[0.0]


# ---- errors


def test_a_pass_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"earlier pass 'probe' does not exist; earlier passes: none"):
        build(synthetic_recipe(target=named("target", "smoothed", probe="probe")))
    with pytest.raises(UserError, match=r"earlier pass 'probe' does not exist.*earlier passes: other"):
        build(replace(recipe(), passes=(PassConfig("other", "shown", predictors=("in_place",)),)))


def test_a_pass_without_the_predictor_is_named() -> None:
    with pytest.raises(UserError, match=r"pass probe has no predictor 'in_place'; its predictors: none\. Add it there"):
        build(replace(recipe(), passes=(PassConfig("probe", "shown"),)))


@pytest.mark.parametrize(
    "view",
    [{"maskers": {"letters": named("masker", "random", ratio=0.8)}}, {"draw": "other"}],
    ids=["more tokens", "others"],
)
def test_a_pass_that_answers_other_tokens_is_named(view: dict[str, Any]) -> None:
    built = build(recipe(**view))
    with pytest.raises(RunStopped, match=r"pass 'probe' answers \d+ tokens.*passes: probe, main"):
        built.model(batch(built))
