"""A lexicon is built once, from the training samples of a recipe."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from omnimask.builder.build import build
from omnimask.components.units.lexicon import read_lexicon
from omnimask.data.corpus import TrainingTokens
from omnimask.interfaces import Draw
from omnimask.recipe import load_recipe
from omnimask.registry import Registry

from .conftest import RECIPES


def test_the_lexicon_comes_from_the_training_samples_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, registry: Registry
) -> None:
    """The toy grammar's words follow each other in the alphabet nine times in ten, so those bigrams lead."""
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    recipe = load_recipe(
        RECIPES / "words_in_place.yaml",
        ["modalities.words.masker={name: lexicon, sizes: [8, 4]}"],
        registry=registry,
    )
    caplog.set_level(logging.INFO, logger="omnimask.components.maskers.lexicon")
    built = build(recipe)
    (path,) = (tmp_path / "lexicons").iterdir()
    lexicon = read_lexicon(path)
    assert set(lexicon.ngrams[:8]) == {(word, (word + 1) % 8) for word in range(8)}
    assert all((b - a) % 8 == (c - b) % 8 == 1 for a, b, c in lexicon.ngrams[8:])
    assert built.pipeline.views["main"] is not None
    assert caplog.text.count("building a lexicon") == 1
    build(recipe)
    assert caplog.text.count("building a lexicon") == 1
    path.write_text("damaged", encoding="ascii")
    build(recipe)
    assert caplog.text.count("building a lexicon") == 2
    assert "recomputing the cached lexicons" in caplog.text
    assert read_lexicon(path) == lexicon


def test_held_out_samples_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    recipe = load_recipe(RECIPES / "words_in_place.yaml", registry=registry)
    built = build(recipe)
    corpus = TrainingTokens(built.dataset, built.validation.modalities["words"], built.train_indices, "")
    read = sorted(tuple(tokens.content.tolist()) for tokens in corpus)
    part = built.pipeline.modalities["words"]
    wanted = [part(built.dataset[index]["words"], Draw(0, 0, "")) for index in built.train_indices.tolist()]
    assert read == sorted(tuple(tokens.content.tolist()) for tokens in wanted)
    fewer = TrainingTokens(built.dataset, part, built.train_indices[1:], "")
    assert fewer.fingerprint() != corpus.fingerprint()
