"""ERNIE-Gram's recipe on the embedded texts: one slot for each n-gram, asked for as a whole and token by token; both are learnt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.components.maskers.lexicon import LexiconMasker
from omnimask.components.units.lexicon import Lexicon
from omnimask.interfaces import MaskedBatch

from .learning import batches, learn, same_texts, small

SIZES = "modalities.text.masker.sizes=[400, 200]"


@pytest.fixture(scope="module")
def built() -> Built:
    return small("text/ernie-gram", SIZES, "predictors.0.target.num_units=600")


def lexicon(built: Built) -> Lexicon:
    """The one that the recipe's masker built from the training samples."""
    joint: Any = built.pipeline.views["main"].masker
    masker = joint.masker.masker.maskers["text"]
    assert isinstance(masker, LexiconMasker)
    return masker.lexicon


def slots(batch: MaskedBatch) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Of every slot that is asked for: the ids of its tokens by their place, those places, and the ids of its units."""
    table, content = batch.views["main"].context.targets, np.asarray(batch.store["text"].data)
    at, of, literal, index = (np.asarray(a) for a in (table.at[:, 0], table.of, table.literal, table.index))
    for slot in np.unique(at):
        tokens, units = np.flatnonzero((at == slot) & (index >= 0)), np.flatnonzero((at == slot) & (index < 0))
        order = tokens[np.argsort(index[tokens])]
        yield content[of[order]].tolist(), index[order].tolist(), literal[units].tolist()


def test_every_unit_has_one_slot_that_shows_a_mask_token(built: Built) -> None:
    """The input is shorter by what n-grams have beyond their first tokens, and places are counted anew."""
    vocabulary, ngrams, mask = built.specs["text"].vocabulary or 0, lexicon(built).ngrams, built.specs["text"].id("mask")
    sizes = set()
    for batch in batches(built, 4):
        context = batch.views["main"].context
        found = list(slots(batch))
        saved = sum(len(tokens) - 1 for tokens, _, _ in found)
        assert context.layout.num_slots == batch.num_tokens - saved
        assert (np.asarray(context.literal) == mask).sum() == len(found)
        for tokens, places, units in found:
            assert places == list(range(len(tokens)))
            (unit,) = units
            assert tokens == ([unit] if unit < vocabulary else list(ngrams[unit - vocabulary]))
            sizes.add(len(tokens))
        for start, stop in zip(context.layout.offsets[:-1], context.layout.offsets[1:], strict=True):
            assert np.asarray(context.positions)[start:stop, 0].tolist() == list(range(stop - start))
    assert sizes == {1, 2, 3}


def test_terms_are_counted_separately(built: Built) -> None:
    for batch in batches(built, 3):
        found = list(slots(batch))
        assert built.model.counts(batch) == {"coarse": len(found), "fine": sum(len(tokens) for tokens, _, _ in found)}


def majority(ids: np.ndarray) -> float:
    return float(np.bincount(ids).max() / len(ids))


def test_both_heads_learn() -> None:
    """Of 16 texts with other n-grams hidden in every step: both losses fall by more than half, and both heads name several times as
    many answers as the most frequent one would. Measured: 0.43 where that is 0.03 (coarse), and 0.40 where it is 0.08 (fine)."""
    built = small("text/ernie-gram", SIZES, "predictors.0.target.num_units=600")
    steps = learn(built, same_texts(built, 16, 250))
    answers = [slot for batch in same_texts(built, 16, 10) for slot in slots(batch)]
    often = {
        "coarse": majority(np.concatenate([units for _, _, units in answers])),
        "fine": majority(np.concatenate([tokens for tokens, _, _ in answers])),
    }
    for term in ("coarse", "fine"):
        losses = [step.losses[term] for step in steps]
        accuracy = np.mean([step.scores[term]["accuracy"] for step in steps[-10:]])
        assert np.mean(losses[-10:]) < losses[0] / 2
        assert accuracy > 2 * often[term]
