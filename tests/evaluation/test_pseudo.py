"""Pseudo-perplexity: which tokens, hidden how, and numbers by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.component import named
from omnimask.errors import UserError
from omnimask.evaluation.pseudo_perplexity import choose, hidden_alone, pseudo_perplexity
from omnimask.interfaces import NOTHING
from omnimask.run.unigram import count_answers
from omnimask.training.devices.precision import Precision

from .conftest import Letters, answering, built_on, small_recipe
from .test_answers import SHARES, sentences
from .test_features import Framed

FP32 = Precision("fp32", torch.device("cpu"))


def test_mean_over_all_tokens_by_hand() -> None:
    built = answering(sentences(40), SHARES)
    (found,) = pseudo_perplexity(built, count_answers(built), FP32, max_tokens=10_000)
    everything = np.concatenate([built.dataset[index]["values"] for index in built.validation_indices.tolist()])
    assert (found.num_targets, found.num_samples) == (len(everything), len(built.validation_indices))
    expected = -np.log([SHARES[number] for number in everything]).mean()
    assert found.model["cross_entropy"].mean == pytest.approx(expected, rel=1e-6)
    assert found.model["accuracy"].mean == pytest.approx((everything == 0).mean())


def test_each_token_is_hidden_alone_and_the_others_are_read() -> None:
    built = answering(sentences(10), SHARES)
    sample = choose(built, 1).samples[0]
    number = len(sample)
    seen: list[int] = []
    for batch, name, count in hidden_alone(built, sample, budget=3 * number):
        assert (name, batch.num_samples) == ("letters", count) and count <= 3
        stream = batch.views["main"].context
        literal = np.asarray(stream.literal).reshape(count, number)
        assert ((literal >= 0).sum(1) == 1).all()
        np.testing.assert_array_equal(np.asarray(stream.targets.at)[:, 0], np.flatnonzero(literal.reshape(-1) >= 0))
        seen += (np.asarray(stream.targets.of) % number).tolist()
    assert seen == list(range(number))


@pytest.mark.parametrize(
    "corruptor", [{"name": "bert", "masked": 0.0, "random": 0.5}, {"name": "mask_token"}], ids=lambda corruptor: corruptor["name"]
)
def test_whatever_training_shows_the_token_itself_is_never_read(corruptor: dict[str, Any]) -> None:
    built = answering(sentences(10), SHARES, **corruptor)
    sample = choose(built, 1).samples[0]
    shown = built.specs["letters"].id("mask")
    for batch, _, count in hidden_alone(built, sample, budget=10_000):
        literal = np.asarray(batch.views["main"].context.literal)
        assert (literal[literal >= 0] == shown).all() and (literal >= 0).sum() == count


def test_dropped_tokens_are_asked_for_in_a_query() -> None:
    built = built_on(sentences(30), small_recipe(Letters))
    (found,) = pseudo_perplexity(built, count_answers(built), FP32, max_tokens=50)
    assert found.num_targets <= 50
    sample = choose(built, 1).samples[0]
    for batch, _, count in hidden_alone(built, sample, budget=10_000):
        query = batch.views["main"].query
        assert query is not None and (np.asarray(query.literal) == NOTHING).all()
        assert query.layout.num_slots == count
        assert (batch.views["main"].context.layout.lengths == len(sample) - 1).all()


def test_special_tokens_are_not_hidden() -> None:
    built = answering({f"s/{n}": {"values": [3, 0, 1, n % 3, 4]} for n in range(20)}, SHARES, Framed)
    (found,) = pseudo_perplexity(built, count_answers(built), FP32, max_tokens=10_000)
    assert found.num_targets == 3 * len(built.validation_indices)


def test_samples_are_chosen_whole_and_the_same_every_time() -> None:
    built = answering(sentences(60), SHARES)
    keys = [built.dataset.key(index) for index in built.validation_indices.tolist()]
    some, same, more = (choose(built, count) for count in (40, 40, 60))
    assert some.keys == same.keys == more.keys[: len(some.keys)]
    assert 40 - 12 < some.num_tokens <= 40 < more.num_tokens <= 60
    assert some.num_tokens == sum(map(len, some.samples))
    assert len(choose(built, 1).samples) == 1  # one, however long
    assert set(more.keys) <= set(keys) and list(more.keys) != keys[: len(more.keys)]


def test_unreadable_samples_are_left_out() -> None:
    samples = sentences(60)
    built = answering(samples, SHARES)
    keys = [built.dataset.key(index) for index in built.validation_indices.tolist()]
    samples[keys[0]]["broken"] = True
    chosen = choose(answering(samples, SHARES), 10_000)
    assert len(chosen.keys) == len(keys) - 1


def test_what_cannot_be_hidden_alone_is_refused() -> None:
    built = answering(sentences(30), SHARES, name="keep")
    with pytest.raises(UserError, match="corruptor keep has no mask token, so tokens cannot be masked one by one"):
        pseudo_perplexity(built, count_answers(built), FP32)


def test_a_corruptor_that_asks_for_a_part_is_refused() -> None:
    import dataclasses

    recipe = small_recipe(Letters)
    modality = dataclasses.replace(recipe.modalities["letters"], corruptor=named("corruptor", "drop", ask=0.5))
    built = built_on(sentences(30), dataclasses.replace(recipe, modalities={"letters": modality}))
    with pytest.raises(UserError, match=r"has \d+ of \d+ masked tokens as targets"):
        pseudo_perplexity(built, count_answers(built), FP32, max_tokens=100)


def test_a_model_that_reads_its_context_does_better_than_frequencies() -> None:
    """A head that is right wherever the token before is read, on sentences that count up."""
    built = answering({f"s/{n:02d}": {"values": (np.arange(12) + n) % 5} for n in range(60)}, [0.2] * 5)
    (found,) = pseudo_perplexity(built, count_answers(built), FP32, max_tokens=200)
    assert math.exp(found.model["cross_entropy"].mean) == pytest.approx(5, rel=1e-5)
    assert math.exp(found.unigram["cross_entropy"].mean) == pytest.approx(5, rel=0.1)
