"""Tokens that were counted when shards were written are not counted again, unless they would be counted otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_grammar import Sentences

from omnimask.builder.build import build
from omnimask.data import token_counts as counts
from omnimask.errors import UserError
from omnimask.interfaces import Context
from omnimask.recipe import Recipe, load_recipe
from omnimask_datasets.shards.count import counter
from omnimask_datasets.shards.sources import DatasetSource
from omnimask_datasets.shards.write import Limits, write_shards

pytest.importorskip("webdataset")


@pytest.fixture
def written(tmp_path: Path, words: Any) -> Path:
    """The toy sentences in shards, counted."""
    out = tmp_path / "out"
    source = DatasetSource(Sentences(Context()), "toy.sentences")
    write_shards(source, out, Limits(10**9, 100, 0), counter(words(out)))
    return out


@pytest.fixture
def words(toys: Any) -> Any:
    def recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
        changes = ["data.name=shards", f"data.path={path}", *overrides]
        return load_recipe(toys.recipe("words_in_place"), changes, registry=toys.registry)

    return recipe


def test_counts_of_the_index_are_used(written: Path, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_counts_of_range", lambda *args: pytest.fail("the samples are counted again"))
    built = build(words(written))
    lengths = [len(built.dataset[index]["words"]) for index in range(len(built.dataset))]
    assert isinstance(built.counts, np.ndarray)
    assert built.counts.tolist() == lengths
    assert len(set(lengths)) > 10


def test_another_way_of_reading_is_counted_anew(written: Path, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(Exception): ...

    def count(*args: Any) -> None:
        raise Counted

    recipe = words(written)
    built = build(recipe)
    monkeypatch.setattr(counts, "_counts_of_range", count)
    monkeypatch.setattr("omnimask.builder.build.reading_options", lambda *args: "another tokenizer")
    with pytest.raises(Counted):
        _ = built.counts


def test_counting_for_recipes_that_cut_samples_is_refused() -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(UserError, match=r"--count: the tokenizer of text/.* splits long samples into parts"):
        counter(load_recipe("text"))
