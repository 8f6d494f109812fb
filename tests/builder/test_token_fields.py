"""Fields of tokens that a recipe reads, and tokenizers that leave out the others."""

from __future__ import annotations

import dataclasses

import pytest

from omnimask.builder import token_fields
from omnimask.builder.build import build
from omnimask.builder.token_fields import fields_read
from omnimask.component import Component
from omnimask.components.maskers.random import RandomMasker
from omnimask.recipe import Recipe, load_recipe
from omnimask.registry import discover
from omnimask.registry.distributions import Plugin
from omnimask.registry.registry import Registrar, Registry

TEXT = ["data.cache_tokens=0", "modalities.text.tokenizer={name: text.english, max_length: 64}", "data={name: english}"]


def recipe(*changes: str) -> Recipe:
    return load_recipe("text/bert", [*TEXT, *changes])


def fields(of: Recipe) -> set[str]:
    return set(build(of, initialise=False).specs["text"].fields)


def test_fields_named_by_options_are_read() -> None:
    assert fields(recipe()) == {"special", "document"}
    assert fields(recipe("modalities.text.masker={name: units, ratio: 0.15}")) == {"special", "document", "word"}
    assert fields(recipe("modalities.text.masker={name: units, ratio: 0.15, field: sentence}")) == {
        "special",
        "document",
        "sentence",
    }
    assert fields(recipe("views={main: {split: sentence}}")) == {"special", "document", "sentence"}
    nested = fields_read(recipe("modalities.text.masker={name: choose, maskers: [{name: units, ratio: 0.15}]}"))
    assert nested is not None and {"word", "word.class"} <= nested


def test_with_a_component_that_promises_nothing_all_fields_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {"special", "document", "word", "sentence", "offset"}
    direct = recipe()
    part = dataclasses.replace(direct.modalities["text"], masker=Component("masker", "own", {"ratio": 0.15}, cls=RandomMasker))
    direct = dataclasses.replace(direct, modalities={"text": part})
    assert fields_read(direct) is None
    assert fields(direct) == everything

    theirs = Registrar(Plugin("theirs", "theirs", "1.0", "theirs:plugin"))
    theirs.add_masker("theirs.random", RandomMasker)
    ours = Registrar(Plugin("ours", "ours", "1.0", "ours:plugin"))
    ours.reads_named_fields()
    ours.add_masker("ours.random", RandomMasker)
    extended: Registry = discover().including([theirs, ours])
    monkeypatch.setattr(token_fields, "discover", lambda: extended)
    for name, known in (("theirs.random", False), ("ours.random", True)):
        part = dataclasses.replace(direct.modalities["text"], masker=Component("masker", name, {"ratio": 0.15}, cls=RandomMasker))
        assert (fields_read(dataclasses.replace(direct, modalities={"text": part})) is not None) == known
