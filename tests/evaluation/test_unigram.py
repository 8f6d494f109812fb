"""What can be answered without looking, by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from omnimask.network.model import asked_ids
from omnimask.run import unigram
from omnimask.run.unigram import Unigram, count_answers, has_ids, unigram_scores

from .conftest import Letters, built_on, random_samples, small_recipe


def test_probabilities_by_hand() -> None:
    # ten answers, two ids seen once, two never seen: (2 + 1) / (10 + 2) is theirs, and 3/4 is shared by frequency
    model = Unigram(np.array([5, 3, 1, 0, 1, 0]), 4)
    assert model.probabilities.tolist() == pytest.approx([0.375, 0.225, 0.075, 0.125, 0.075, 0.125])
    assert model.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3, 1, 4], [3 / 8, 1 / 8, 4 / 8]),  # nothing is unseen
        ([0, 0], [0.5, 0.5]),
        ([1, 1, 0], [1 / 8, 1 / 8, 3 / 4]),  # all seen once: (2 + 1) / (2 + 2)
        ([4, 0], [5 / 6, 1 / 6]),
    ],
)
def test_every_id_has_a_probability(counts: list[int], expected: list[float]) -> None:
    assert Unigram(np.array(counts), 1).probabilities.tolist() == pytest.approx(expected)


def test_scores_by_hand() -> None:
    model = Unigram(np.array([5, 9, 1, 0, 1, 0, 2]), 4)
    found = model.scores(np.array([1, 0, 3, 5, 2]))
    assert found["accuracy"].tolist() == [1, 0, 0, 0, 0]
    assert found["top5"].tolist() == [1, 1, 0, 0, 1]  # 1, 0, 6, and of equals the lower: 2, 4
    assert found["cross_entropy"].tolist() == pytest.approx([-math.log(model.probabilities[i]) for i in (1, 0, 3, 5, 2)])


def ids(count: int, length: int = 8) -> dict[str, dict[str, object]]:
    """Half of all tokens is 4, a quarter 1, the rest 0 and 2."""
    rng = np.random.default_rng(0)
    return {f"s/{number:03d}": {"values": rng.choice([4, 4, 1, 1, 4, 4, 0, 2], length)} for number in range(count)}


def test_answers_of_training_samples_are_counted() -> None:
    built = built_on(ids(40), small_recipe(Letters))
    (model,) = count_answers(built).values()
    assert model.num_samples == len(built.train_indices)
    assert model.counts.sum() == 4 * model.num_samples  # half of eight tokens is hidden
    assert len(model.counts) == 5 and model.counts[3] == 0
    assert model.counts.argmax() == 4
    train = np.concatenate([built.dataset[index]["values"] for index in built.train_indices.tolist()])
    np.testing.assert_allclose(model.counts / model.counts.sum(), np.bincount(train, minlength=5) / len(train), atol=0.1)


def test_held_out_targets_are_scored() -> None:
    built = built_on(ids(40), small_recipe(Letters))
    (model,) = count_answers(built).values()
    (found,) = unigram_scores(built).values()
    right = np.concatenate([asked.ids for batch in built.validation_batches() for asked in asked_ids(built.model, batch).values()])
    assert len(right) == 4 * len(built.validation_indices)
    assert found["accuracy"] == pytest.approx((right == 4).mean())
    assert found["cross_entropy"] == pytest.approx(-np.log(model.probabilities[right]).mean())


def test_no_more_is_read_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_on(ids(40), small_recipe(Letters))
    monkeypatch.setattr(unigram, "SAMPLES", 7)
    (few,) = count_answers(built).values()
    assert few.num_samples == 7
    (again,) = count_answers(built).values()
    np.testing.assert_array_equal(few.counts, again.counts)
    monkeypatch.setattr(unigram, "SAMPLES", 4_000)
    monkeypatch.setattr(unigram, "TOKENS", 100)
    (some,) = count_answers(built).values()
    assert 100 <= 8 * some.num_samples < 100 + 64  # whole batches of at most 64 tokens


def test_continuous_answers_have_no_frequencies() -> None:
    built = built_on(random_samples(10))
    assert not has_ids(built)
    assert unigram_scores(built) == {}


def test_predictors_of_the_model_are_asked_and_not_those_of_the_recipe() -> None:
    built = built_on(ids(10), small_recipe(Letters))
    assert has_ids(dataclasses.replace(built, recipe=dataclasses.replace(built.recipe, predictors=())))
