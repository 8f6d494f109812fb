"""RetroMAE-2: the published numbers of its decoder, what is asked, and that its losses fall."""

from __future__ import annotations

import numpy as np

from omnimask.interfaces import CONTENT
from omnimask.recipe import load_recipe
from omnimask.report.blanks import shown_in_store
from omnimask.report.reconstruct import visible_in_store

from .learning import BYTES, batches, learn, same_texts, small

SIZES = ("predictors.1.heads=4", "predictors.1.mlp_width=128", "predictors.1.position.max_length=128", "predictors.1.dropout=0")


def test_published_numbers_of_the_decoder() -> None:
    recipe = load_recipe("text/retromae", ["data.path=.", "modalities.text.tokenizer.path=."])
    mlm, bottleneck, bag = recipe.predictors
    assert [(p.component.name, p.weight) for p in recipe.predictors] == [("mlm", 1.0), ("bottleneck", 1.0), ("bag_of_words", 0.1)]
    options = bottleneck.component.options
    assert (options["depth"], options["visibility"], options["heads"], options["dropout"]) == (1, 0.5, 12, 0.1)
    assert bottleneck.query == "decode" and mlm.query is None and bag.query is None
    assert recipe.modalities["text"].masker is not None and recipe.modalities["text"].masker.name == "units"


def test_every_ordinary_token_is_decoded() -> None:
    built = small("text/retromae", *SIZES)
    for batch in batches(built, 3):
        special = np.asarray(batch.fields["text"]["special"])
        sequences = batch.views["main"].context.layout.num_sequences
        assert batch.views["decode"].context.targets.of.tolist() == np.flatnonzero(~special).tolist()
        counts = built.model.counts(batch)
        assert counts["bottleneck"] == (~special).sum() and counts["bag_of_words"] == sequences
        assert abs(counts["mlm"] / len(special) - 0.3) < 0.02


def test_three_losses_fall() -> None:
    """On 8 texts in bytes, masked anew in every step."""
    built = small("text/retromae", *SIZES, tokenizer=BYTES)
    steps = learn(built, same_texts(built, 8, 60))
    first, last = steps[0].losses, steps[-1].losses
    assert first.keys() == {"mlm", "bottleneck", "bag_of_words"}
    for term, share in (("mlm", 0.6), ("bottleneck", 0.6), ("bag_of_words", 0.75)):
        assert last[term] < share * first[term], term


def test_what_the_encoder_does_not_see_is_hidden_in_pictures() -> None:
    """Although the view that is decoded shows it."""
    built = small("text/retromae", *SIZES)
    for batch in batches(built, 2):
        main = batch.views["main"].context
        asked, shown = np.asarray(main.targets.of), np.asarray(main.literal)[np.asarray(main.targets.at)[:, 0]]
        assert (visible_in_store(batch, "text")[asked] == (shown == CONTENT)).all()
        assert (shown_in_store(batch, "text")[asked] == shown).all()
        assert (shown != CONTENT).mean() > 0.8  # a tenth is asked for as it stands
