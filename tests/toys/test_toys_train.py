"""Two modalities that the core has never heard of train on the shared loop, far below what guessing without context reaches."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from omnimask.interfaces import Run

from .conftest import Toy, held_out_scores


def answers(toy: Toy, label: str) -> torch.Tensor:
    """All answers of one predictor over the held-out samples, as its own target gives them."""
    found = []
    for batch in toy.built.validation_batches():
        for part in toy.built.model.each():
            results = toy.built.model.predict(batch)
            prediction = results[part.name].predictions[label]
            target = part.predictors[label].target(prediction.modality)
            found.append(target.answers(prediction, Run(batch, results)))
    return torch.cat(found)


def unigram(toy: Toy, label: str) -> float:
    """Cross-entropy of the answers' own frequencies, the best that a guess without context can do."""
    share = torch.bincount(answers(toy, label)).double()
    share = share[share > 0] / share.sum()
    return float(-(share * share.log()).sum())


def mean_guess(toy: Toy, label: str) -> float:
    """Mean squared error of the answers' own mean."""
    values = answers(toy, label)
    return float((values - values.mean(0)).square().mean())


def test_words_in_place_with_two_heads_at_different_layers(trained: Callable[..., Toy]) -> None:
    toy = trained("words_in_place")
    baseline = unigram(toy, "in_place")
    assert baseline == pytest.approx(2.07, abs=0.05)  # eight words, nearly equally often: log 8
    assert toy.before["in_place"] > 0.9 * baseline
    assert toy.after["in_place"] < 0.5 * baseline
    assert toy.after["early"] < 0.5 * baseline
    assert toy.summary["step"] == toy.built.recipe.train.steps


def test_words_by_sentinels(trained: Callable[..., Toy]) -> None:
    toy = trained("words_sentinels")
    assert toy.after["autoregressive"] < 0.65 * unigram(toy, "autoregressive")


def test_signal_dropped_and_decoded(trained: Callable[..., Toy]) -> None:
    toy = trained("signal_drop")
    baseline = mean_guess(toy, "decoder")
    assert baseline == pytest.approx(1.0, abs=0.1)
    assert toy.after["decoder"] < 0.1 * baseline


@pytest.mark.parametrize("recipe", ["pairs_drop", "pairs_mixed", "pairs_conv"])
def test_two_modalities_of_which_one_may_be_absent(trained: Callable[..., Toy], recipe: str) -> None:
    toy = trained(recipe)
    assert toy.after["signal"] < 0.7 * mean_guess(toy, "signal")
    assert toy.after["words"] < 0.8 * unigram(toy, "words")
    assert toy.summary["bad_samples"] == {}


def test_windows_find_their_places_from_content(trained: Callable[..., Toy]) -> None:
    toy = trained("signal_positions")
    accuracy = held_out_scores(toy.built)["in_place"]["accuracy"]
    assert accuracy > 5 / 12  # of twelve places


def test_windows_find_their_places_among_placed_ones(trained: Callable[..., Toy]) -> None:
    """DropPos: a few windows keep their positions, and only those are seen."""
    options = ("modalities.signal.masker.ratio=0.75", "modalities.signal.corruptor.seen=placed", "encoder.position.name=learned")
    smoothing = "predictors.0.target.smoothing=0.5"
    toy = trained("signal_positions", (*options, smoothing))
    assert held_out_scores(toy.built)["in_place"]["accuracy"] > 5 / 12


def test_places_pick_their_windows_among_hidden_ones(trained: Callable[..., Toy]) -> None:
    toy = trained("signal_pick")
    scores = held_out_scores(toy.built)["pick"]
    assert scores["accuracy"] > 0.8  # of six windows that are hidden
    assert scores["cross_entropy"] < 0.4 * math.log(6)
