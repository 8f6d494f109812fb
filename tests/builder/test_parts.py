"""Samples that are too long, through the whole of a recipe: built, trained on, validated, evaluated and looked at as parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.data.chunks import read_chunks
from omnimask.data.config import DataOptions
from omnimask.data.label_tables import Row
from omnimask.data.planner import Cursor, Place
from omnimask.data.sample_parts import SampleParts
from omnimask.errors import UserError
from omnimask.evaluation import evaluate
from omnimask.evaluation.feature_table import compute_features
from omnimask.evaluation.features import clean_pipeline, encode
from omnimask.evaluation.labelled_samples import choose_sides
from omnimask.interfaces import Context
from omnimask.recipe import Recipe
from omnimask.report.reconstruct import reconstruct
from omnimask.run.prepare import check_data, data_record
from omnimask.run.user_samples import one_file
from omnimask.testing import synthetic_recipe
from omnimask.testing.synthetic import VOCABULARY, Letters
from omnimask.training.devices.precision import Precision

LONGEST = 12


class Pages(Letters):
    """At most twelve letters to a part."""

    def split(self, raw: Any) -> Sequence[tuple[int, int, int]]:
        return [(start, start + LONGEST, len(raw[start : start + LONGEST])) for start in range(0, len(raw), LONGEST)]

    def part(self, raw: Any, start: int, stop: int) -> Any:
        return raw[start:stop]


def read(data: bytes) -> list[int]:
    return [value % VOCABULARY for value in data]


class Books:
    """Forty books of 0 to 60 letters, of two kinds; the tenth cannot be read."""

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 40

    def key(self, index: int) -> str:
        return f"books/{range(len(self))[index]:02d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 10:
            raise OSError("torn")
        rng = np.random.default_rng(index)
        length = 0 if index == 3 else int(rng.integers(1, 61))
        return {"letters": rng.integers(0, 3 + index % 2, length), "label": index % 2}

    def fingerprint(self) -> str:
        return "books"


class Blank(Books):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"letters": []}

    def fingerprint(self) -> str:
        return "blank"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))


def recipe(books: type = Books) -> Recipe:
    plain = synthetic_recipe()
    letters = dataclasses.replace(plain.modalities["letters"], tokenizer=Component("tokenizer", "pages", cls=Pages))
    data = dataclasses.replace(plain.data, dataset=Component("dataset", "books", cls=books), options=DataOptions(validation=0.3))
    return dataclasses.replace(plain, modalities={"letters": letters}, data=data)


@pytest.fixture
def built() -> Built:
    return build(recipe())


def test_the_samples_are_parts_and_none_is_longer_than_fits(built: Built) -> None:
    assert isinstance(built.dataset, SampleParts)
    assert len(built.dataset) > 60
    assert built.counts is built.dataset.counts
    assert isinstance(built.counts, np.ndarray)
    assert built.counts.max() == LONGEST
    check_data(built)
    assert data_record(built) == {"fingerprint": built.dataset.fingerprint(), "format": 2, "samples": len(built.dataset)}


def test_no_book_is_on_both_sides_and_counts_are_those_of_the_batches(built: Built) -> None:
    assert isinstance(built.dataset, SampleParts)
    train, held = ({built.dataset.whole(i) for i in side.tolist()} for side in (built.train_indices, built.validation_indices))
    assert train and held and not train & held
    assert len(train | held) == 39  # the blank one has no parts
    steps = list(dataclasses.replace(built, recipe=_steps(built.recipe, 4)).loader(Cursor(), 0))
    bad = [one for step in steps for one in step.bad]
    keys = [key for step in steps for batch in step.batches for key in batch.keys]
    number = {built.dataset.key(i): i for i in range(len(built.dataset))}
    assert sum(batch.num_tokens for step in steps for batch in step.batches) == sum(
        int(built.dataset.counts[number[key]]) for key in keys
    )
    assert {one.key for one in bad} <= {"books/10"}
    assert all(key.partition("#")[0] in train for key in keys)
    loss = sum(built.model(batch).loss.item() for batch in built.validation_batches())
    assert np.isfinite(loss)


def _steps(recipe: Recipe, steps: int) -> Recipe:
    return dataclasses.replace(recipe, train=recipe.train.model_copy(update={"steps": steps}))


def test_the_list_of_parts_is_scanned_once(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Books, "__getitem__", lambda self, index: {"letters": np.arange(24) % 7, "label": 0})
    del built
    first = build(recipe()).dataset.fingerprint()
    monkeypatch.setattr(Books, "__getitem__", lambda self, index: pytest.fail("read again"))
    assert build(recipe()).dataset.fingerprint() == first


def test_a_corpus_that_holds_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="data: the corpus is empty: all of its 40 samples are empty"):
        build(recipe(Blank))


def test_a_second_modality_keeps_samples_whole() -> None:
    both = recipe()
    vectors = synthetic_recipe(modality="vectors").modalities["vectors"]
    joint = dataclasses.replace(both, modalities={**both.modalities, "vectors": vectors})
    assert not isinstance(build(joint).dataset, SampleParts)


def test_parts_are_reconstructed(built: Built) -> None:
    samples = [built.validation.sample(Place(0, 0, index, 0.0)) for index in (0, 1)]
    batch = built.validation.pack(samples)
    precision = Precision("fp32", torch.device("cpu"))
    found = reconstruct(built.model, samples, batch, built.tokenizers, built.specs, precision)
    assert [one.key for one in found["letters"]] == [built.dataset.key(0), built.dataset.key(1)]
    assert np.array_equal(found["letters"][0].original, built.dataset[0]["letters"])


def test_a_file_of_the_users_is_cut_too(built: Built, tmp_path: Path) -> None:
    file = tmp_path / "letters.bin"
    file.write_bytes(bytes(range(30)))
    reader = dataclasses.replace(built.validation.modalities["letters"], decoder=read)
    pipeline = dataclasses.replace(built.validation, modalities={"letters": reader})
    opened = one_file(dataclasses.replace(built, validation=pipeline), file, None)
    assert [opened.dataset.key(index) for index in range(len(opened.dataset))] == [f"letters.bin#{start}" for start in (0, 12, 24)]
    assert len(opened.sample(Place(0, 0, 2, 0.0))) == 6
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        one_file(built, file, None)


def test_books_are_probed_not_their_parts(built: Built) -> None:
    found = evaluate(built, probes=["knn"], draws=2)
    assert found.num_test == len({key.partition("#")[0] for key in _keys(built, built.validation_indices)} - {"books/10"})
    assert found.num_train == len({key.partition("#")[0] for key in _keys(built, built.train_indices)} - {"books/10"})
    assert found.num_train + found.num_test < len(built.dataset) - 40


def test_features_of_a_book_are_the_mean_over_all_of_its_letters(built: Built) -> None:
    sides = choose_sides(built, None, "")
    table = compute_features(built, sides, None, "mean", torch.device("cpu"))
    key = next(key for key in table.keys if len([name for name in _keys(built, sides.train) if name.startswith(f"{key}#")]) > 2)
    parts = [index for index in range(len(built.dataset)) if built.dataset.key(index).startswith(f"{key}#")]
    precision = Precision("fp32", torch.device("cpu"))
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), parts, 10_000, {})
    means, sizes = encode(built.model, chunk.batch, "mean", precision), [len(sample) for sample in chunk.samples]
    assert len(set(sizes)) > 1
    expected = np.average(means, axis=0, weights=sizes)
    np.testing.assert_allclose(table.features["pretrained"][table.keys.index(key)], expected, rtol=1e-5, atol=1e-6)


def test_a_limit_counts_books(built: Built) -> None:
    sides = choose_sides(built, None, "", limit=3)
    for indices in (sides.train, sides.test):
        chosen = {key.partition("#")[0] for key in _keys(built, indices)}
        assert len(chosen) == 3
        everything = range(len(built.dataset))
        assert set(indices) == {index for index in everything if built.dataset.key(index).partition("#")[0] in chosen}
    assert any(note.startswith("3 of ") and note.endswith(" train samples are used") for note in sides.notes)


def test_a_table_of_labels_names_books(built: Built) -> None:
    table = {
        f"books/{number:02d}": Row(str(number % 2), "train" if number < 30 else "test", number)
        for number in range(40)
        if number != 3
    }
    sides = choose_sides(built, table, "labels.csv")
    assert {key.partition("#")[0] for key in _keys(built, sides.test)} == {f"books/{number}" for number in range(30, 40)}
    found = evaluate(built, probes=["knn"], draws=2, table=table)
    assert found.num_test == len({key.partition("#")[0] for key in _keys(built, sides.test)})
    with pytest.raises(UserError, match="unknown sample 'books/99'"):
        choose_sides(built, {"books/99": Row("1", None, 2)}, "labels.csv")


def _keys(built: Built, indices: Any) -> list[str]:
    return [built.dataset.key(int(index)) for index in indices]
