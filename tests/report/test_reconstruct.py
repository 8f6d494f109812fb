"""What reconstructions show, on the toy modalities: continuous and dense, discrete and ragged, both in one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.components.targets.ids import Ids
from omnimask.components.targets.patch import Patch
from omnimask.data.planner import Place
from omnimask.interfaces import Prediction, Run
from omnimask.recipe import load_recipe
from omnimask.report.reconstruct import masked_only, reconstruct
from omnimask.training.devices.precision import Precision

from .conftest import look


def perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prediction is the right answer."""

    def tokens(self: Any, prediction: Prediction, run: Run) -> Tensor:
        name = prediction.modality
        return run.batch.store[name].data[prediction.targets.of - run.batch.base[name]].float()

    monkeypatch.setattr(Patch, "content", tokens)
    monkeypatch.setattr(Ids, "content", Ids.answers)


def test_ids_that_are_hidden_are_left_out_and_filled_in(built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch) -> None:
    perfect(monkeypatch)
    toy = built("words_in_place")
    samples, found = look(toy)
    assert len(found["words"]) == len(samples)
    for number, shown in enumerate(found["words"]):
        assert shown.original == toy.dataset[number]["words"]
        assert shown.filled == shown.original
        assert len(shown.visible) < len(shown.original)
        letters = iter(shown.original)
        assert all(letter in letters for letter in shown.visible)


@pytest.mark.parametrize("name", ["words_in_place", "words_sentinels", "pairs_drop"])
def test_an_untrained_model_fills_in_letters_only(built: Callable[[str], Built], name: str) -> None:
    for shown in look(built(name))[1]["words"]:
        assert set(shown.filled) <= set("abcdefgh")
        assert len(shown.visible) <= len(shown.filled) <= len(shown.original)


def test_an_answer_that_is_no_token_is_left_out(built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch) -> None:
    toy = built("words_sentinels")
    sentinel = toy.specs["words"].id("sentinel_0")
    monkeypatch.setattr(Ids, "content", lambda self, prediction, run: torch.full_like(prediction.targets.of, sentinel))
    for shown in look(toy)[1]["words"]:
        assert shown.filled == shown.visible


def test_continuous_tokens_that_are_hidden_show_the_mean(built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch) -> None:
    perfect(monkeypatch)
    toy = built("signal_drop")
    for shown in look(toy)[1]["signal"]:
        windows = shown.original.reshape(-1, 8)
        is_visible = (shown.visible.reshape(-1, 8) == windows).all(1)
        assert is_visible.sum() == len(windows) // 2
        np.testing.assert_allclose(shown.visible.reshape(-1, 8)[~is_visible], toy.specs["signal"].mean[0])
        np.testing.assert_allclose(shown.filled, shown.original, rtol=1e-6)


def test_visible_tokens_stay_true_whatever_a_model_says(built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(self: Any, prediction: Prediction, run: Run) -> Tensor:
        return torch.full((len(prediction.targets), 8), 1e3)

    monkeypatch.setattr(Patch, "content", nonsense)
    for shown in look(built("signal_drop"))[1]["signal"]:
        is_visible = shown.visible == shown.original
        assert is_visible.any()
        assert (shown.filled[is_visible] == shown.original[is_visible]).all()
        assert (shown.filled[~is_visible] == 1e3).all()


def test_samples_that_lack_a_modality_have_no_reconstruction_of_it(
    built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    perfect(monkeypatch)
    samples, found = look(built("pairs_mixed"))
    for name, shown in found.items():
        having = [sample for sample in samples if name in sample.tokens]
        assert 0 < len(having) < len(samples)
        assert [one.key for one in shown] == [sample.draw.key for sample in having]
    assert all(shown.filled == shown.original for shown in found["words"])
    for shown in found["signal"]:
        np.testing.assert_allclose(shown.filled, shown.original, rtol=1e-6)


def test_without_a_model_only_the_masks_are_shown(built: Callable[[str], Built]) -> None:
    toy = built("pairs_mixed")
    samples, found = look(toy)
    masked = masked_only(samples, toy.validation.pack(samples), toy.tokenizers, toy.specs)
    assert [one.visible for one in masked["words"]] == [one.visible for one in found["words"]]
    assert all(one.filled is None for parts in masked.values() for one in parts)


def test_the_model_stays_in_the_mode_it_was_in(built: Callable[[str], Built]) -> None:
    toy = built("words_in_place")
    toy.model.train()
    look(toy)
    assert toy.model.training


@pytest.mark.parametrize(("normalize", "words"), [("true", "estimated from visible ones"), ("false", "")])
def test_what_is_not_the_models_answer_is_said(normalize: str, words: str) -> None:
    built = build(load_recipe("image/digits", [f"predictors.0.target.normalize={normalize}"]))
    samples = [built.validation.sample(Place(0, 0, index, 0.0)) for index in (0, 1)]
    batch = built.validation.pack(samples)
    precision = Precision("fp32", torch.device("cpu"))
    (first, _) = reconstruct(built.model, samples, batch, built.tokenizers, built.specs, precision)["image"]
    assert words in first.note
    assert bool(first.note) == bool(words)


def test_hidden_numbers_are_marked(built: Callable[[str], Built]) -> None:
    """In the raw value, where its tokens are continuous; ids have blanks instead."""
    samples, found = look(built("pairs_drop"))
    for shown in found["signal"]:
        assert shown.is_hidden is not None and shown.is_hidden.shape == np.shape(shown.visible)
        assert np.array_equal(np.asarray(shown.original)[~shown.is_hidden], np.asarray(shown.visible)[~shown.is_hidden])
        assert 0 < shown.is_hidden.mean() < 1
    assert all(shown.is_hidden is None for shown in found["words"]) and samples


def test_features_of_a_teacher_fill_in_nothing(built: Callable[[str], Built]) -> None:
    """Neither their numbers nor the mean in their place, which would look like an answer."""
    for shown in look(built("signal_latent"))[1]["signal"]:
        assert shown.filled is None and shown.note == "no predictor answers with content, so nothing is filled in"
        assert shown.is_hidden is not None and shown.is_hidden.any()


def test_a_generator_fills_in_what_the_main_network_judges(built: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch) -> None:
    perfect(monkeypatch)
    for shown in look(built("words_judged"))[1]["words"]:
        assert shown.filled == shown.original and not shown.note
        assert any(blank.candidates for blank in shown.blanks)
