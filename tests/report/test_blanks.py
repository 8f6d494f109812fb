"""Blanks and candidates of a model whose head says the same everywhere, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built
from omnimask.data.planner import Place
from omnimask.interfaces import Reconstruction, Sample
from omnimask.report.reconstruct import masked_only, reconstruct
from omnimask.training.devices.precision import Precision

from .conftest import SHARES, look


def blanks_of(samples: list[Sample], built: Built) -> list[Reconstruction]:
    batch = built.validation.pack(samples)
    precision = Precision("fp32", torch.device("cpu"))
    return reconstruct(built.model, samples, batch, built.tokenizers, built.specs, precision)["words"]


def test_candidates_are_those_of_the_head(constant: Callable[[str], Built]) -> None:
    samples, found = look(constant("words_in_place"))
    assert sum(len(one.blanks) for one in found["words"]) > 20
    for sample, one in zip(samples, found["words"], strict=True):
        assert "".join(one.pieces) == one.original
        assert len(one.pieces) == len(sample.tokens["words"])
        for blank in one.blanks:
            assert (blank.truth, blank.seen) == (one.original[blank.at], None)
            # the mask id, with a share of 1/128, stands for no letter and is left out
            assert [candidate.shown for candidate in blank.candidates] == ["a", "b", "c", "d", "e"]
            assert [candidate.probability for candidate in blank.candidates] == pytest.approx(SHARES[:5])


def test_hidden_tokens_are_the_blanks(constant: Callable[[str], Built]) -> None:
    toy = constant("words_in_place")
    samples, found = look(toy)
    for sample, one in zip(samples, found["words"], strict=True):
        masking = toy.validation.views["main"].masker(
            Sample(sample.tokens, sample.draw.at("masker"), sample.modalities, sample.labels)
        )["words"]
        assert [blank.at for blank in one.blanks] == np.flatnonzero(masking.is_target).tolist()


def test_what_is_hidden_and_not_asked_for_has_no_candidates(built: Callable[..., Built]) -> None:
    toy = built("pairs_drop", ["modalities.words.corruptor.ask=0.5"])
    _, found = look(toy)
    shown = [bool(blank.candidates) for one in found["words"] for blank in one.blanks]
    assert 0 < sum(shown) < len(shown)
    assert not any(one.blanks or one.pieces for one in found["signal"])


def test_without_a_model_there_are_no_candidates(constant: Callable[[str], Built]) -> None:
    toy = constant("words_in_place")
    samples, found = look(toy)
    masked = masked_only(samples, toy.validation.pack(samples), toy.tokenizers, toy.specs)
    for one, other in zip(masked["words"], found["words"], strict=True):
        assert [blank.at for blank in one.blanks] == [blank.at for blank in other.blanks]
        assert not any(blank.candidates for blank in one.blanks)


def test_what_was_read_instead_of_a_token(constant: Callable[..., Built]) -> None:
    """80-10-10: most show the mask, some another letter, some themselves."""
    _, found = look(constant("words_in_place", ["modalities.words.corruptor={name: bert, masked: 0.4, random: 0.3}"]), 60)
    blanks = [blank for one in found["words"] for blank in one.blanks]
    hidden = [blank for blank in blanks if blank.seen is None]
    kept = [blank for blank in blanks if blank.seen == blank.truth]
    other = [blank for blank in blanks if blank.seen not in (None, blank.truth)]
    assert min(len(hidden), len(kept), len(other)) > 0.15 * len(blanks)
    assert {blank.seen for blank in other} <= set("abcdefgh")
    assert all(len(blank.candidates) == 5 for blank in blanks)


@pytest.mark.parametrize("name", ["words_in_place", "words_sentinels", "pairs_drop"])
def test_probabilities_are_among_all_ids(built: Callable[..., Built], name: str) -> None:
    for one in look(built(name))[1]["words"]:
        for blank in one.blanks:
            shares = [candidate.probability for candidate in blank.candidates]
            assert shares == sorted(shares, reverse=True)
            assert 0 < sum(shares) < 1
            assert {candidate.shown for candidate in blank.candidates} <= set("abcdefgh")


def test_a_mask_of_the_input_has_no_truth(constant: Callable[[str], Built]) -> None:
    from omnimask.run.user_samples import given_samples

    toy = constant("words_in_place")
    given = given_samples(toy, "ab_de_")
    batch = given.pipeline.pack(given.samples)
    precision = Precision("fp32", torch.device("cpu"))
    (one,) = reconstruct(toy.model, given.samples, batch, toy.tokenizers, toy.specs, precision)["words"]
    assert [(blank.at, blank.truth, blank.seen) for blank in one.blanks] == [(2, None, None), (5, None, None)]
    assert (one.original, one.visible, one.filled) == ("ab_de_", "abde", "abadea")
    assert math.isclose(one.blanks[0].candidates[0].probability, 0.5, rel_tol=1e-6)


def test_places_of_samples_are_their_own(constant: Callable[[str], Built]) -> None:
    """Blanks do not depend on which samples stand beside a sample in its batch."""
    toy = constant("words_in_place")
    samples = [toy.validation.sample(Place(0, 0, index, 0.0)) for index in range(5)]
    together = blanks_of(samples, toy)
    assert together == [blanks_of([sample], toy)[0] for sample in samples]
