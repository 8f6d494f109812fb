"""Scores of masked tokens by hand: models whose head says the same everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built
from omnimask.evaluation.confidence_intervals import LOSS, ratio_interval
from omnimask.evaluation.encoder_scores import answers_as_json, perplexity
from omnimask.evaluation.id_answers import ScoreTable, score_answers, scored_rows
from omnimask.network.model import asked_ids
from omnimask.run.unigram import Unigram, count_answers, unigram_scores
from omnimask.training.devices.precision import Precision
from omnimask.training.validation import Validator

from .conftest import answering, random_samples, small_recipe

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
SHARES = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16]


def sentences(count: int) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    return {f"s/{number:03d}": {"values": rng.choice(5, rng.integers(2, 13), p=SHARES[::-1])} for number in range(count)}


def right_answers(built: Built) -> tuple[np.ndarray, np.ndarray]:
    """The answers to the held-out targets, and the sample that each belongs to."""
    ids, owner, before = [], [], 0
    for batch in built.validation_batches():
        (asked,) = asked_ids(built.model, batch).values()
        table = batch.views["main"].context.targets
        offsets = batch.store["letters"].layout.offsets
        ids.append(asked.ids)
        owner.append(before + np.searchsorted(offsets, np.asarray(table.of), side="right") - 1)
        before += batch.num_samples
    return np.concatenate(ids), np.concatenate(owner)


def test_scores_are_those_of_the_head() -> None:
    built = answering(sentences(60), SHARES)
    (found,) = score_answers(built, count_answers(built), FP32)
    right, owner = right_answers(built)
    assert (found.term, found.num_targets, found.num_samples) == ("in_place", len(right), len(set(owner.tolist())))
    assert found.model["accuracy"].mean == pytest.approx((right == 0).mean())
    assert found.model["top5"].mean == 1
    nats = -np.log([SHARES[number] for number in right])
    assert found.model["cross_entropy"].mean == pytest.approx(nats.mean(), rel=1e-6)
    groups = np.bincount(owner, weights=nats), np.bincount(owner)
    keep = groups[1] > 0
    assert found.model["cross_entropy"].low == pytest.approx(ratio_interval(groups[0][keep], groups[1][keep], LOSS).low, rel=1e-6)
    unigram = unigram_scores(built)["in_place"]
    assert {name: interval.mean for name, interval in found.unigram.items()} == pytest.approx(unigram)


def test_the_unigram_is_as_good_as_a_head_that_says_its_probabilities() -> None:
    samples = sentences(60)
    (model,) = count_answers(answering(samples, SHARES)).values()
    built = answering(samples, model.probabilities.tolist())
    (found,) = score_answers(built, count_answers(built), FP32)
    for name, interval in found.model.items():
        assert interval.mean == pytest.approx(found.unigram[name].mean, rel=1e-5)


def test_scores_are_those_of_validation() -> None:
    built = answering(sentences(60), SHARES)
    (found,) = score_answers(built, count_answers(built), FP32)
    seen = Validator(built.model, built.validation_batches, FP32, CPU, 0)()
    assert {name: interval.mean for name, interval in found.model.items()} == pytest.approx(seen.scores["in_place"], rel=1e-6)
    assert seen.loss == pytest.approx(found.model["cross_entropy"].mean, rel=1e-5)


def test_samples_that_were_trained_on_are_counted() -> None:
    built = answering(sentences(60), SHARES)
    keys = [built.dataset.key(index) for index in built.validation_indices.tolist()]
    (found,) = score_answers(built, count_answers(built), FP32, pretrained_on=keys[:3])
    assert found.seen == 3


def test_targets_belong_to_their_samples() -> None:
    built = answering(sentences(30), SHARES)
    for batch in built.validation_batches():
        (rows,) = scored_rows(built, batch, FP32).values()
        offsets = batch.store["letters"].layout.offsets
        assert ((rows.of >= offsets[rows.sample]) & (rows.of < offsets[rows.sample + 1])).all()


def test_the_model_keeps_its_mode() -> None:
    built = answering(sentences(10), SHARES)
    for mode in (True, False):
        built.model.train(mode)
        score_answers(built, count_answers(built), FP32)
        assert built.model.training is mode


def test_targets_of_a_query_belong_to_their_samples() -> None:
    from .conftest import Letters, built_on

    built = built_on(sentences(30), small_recipe(Letters))  # hidden tokens are dropped, and asked for in a query stream
    for batch in built.validation_batches():
        (rows,) = scored_rows(built, batch, FP32).values()
        offsets = batch.store["letters"].layout.offsets
        assert ((rows.of >= offsets[rows.sample]) & (rows.of < offsets[rows.sample + 1])).all()


def test_what_is_continuous_has_no_such_scores() -> None:
    from .conftest import built_on

    built = built_on(random_samples(10))
    assert score_answers(built, {}, FP32) == []
    (batch,) = list(built.validation_batches())[:1]
    assert scored_rows(built, batch, FP32) == {}


def test_records() -> None:
    built = answering(sentences(40), SHARES)
    (found,) = score_answers(built, count_answers(built), FP32)
    record = answers_as_json(found)
    assert record["model"]["perplexity"]["mean"] == pytest.approx(math.exp(found.model["cross_entropy"].mean))
    assert record["unigram"]["accuracy"]["mean"] == found.unigram["accuracy"].mean
    assert 0 <= record["model"]["accuracy"]["low"] <= record["model"]["top5"]["high"] <= 1
    assert perplexity(ratio_interval([0.0], [1])).mean == 1


def test_few_samples_have_no_intervals() -> None:
    few, enough = ScoreTable(), ScoreTable()
    for table, count in ((few, 4), (enough, 5)):
        for number in range(count):
            table.add([f"text {number}"], {"accuracy": np.array([number % 2])}, {"accuracy": np.array([0.0])})
    unigram = Unigram(np.ones(2), 3)
    assert not few.scores("term", unigram, ()).model["accuracy"].is_known
    assert enough.scores("term", unigram, ()).model["accuracy"].is_known
