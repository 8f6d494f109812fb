"""Labels of samples: values of the data set, absent ones, errors, and how they are packed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from omnimask.builder.build import build
from omnimask.data.label_fields import LabelReader
from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Place
from omnimask.interfaces import Draw, FieldSpec
from omnimask.testing import synthetic_recipe
from omnimask.testing.synthetic import Waves

YEAR = LabelReader("year", FieldSpec("int64", arity=0, classes=3))
SIDE = LabelReader("half", FieldSpec("int64", arity=0, classes=2, names=("left", "right")))
SCORE = LabelReader("score", FieldSpec("float32", arity=0))


@pytest.mark.parametrize(
    ("reader", "value", "expected"),
    [
        (YEAR, 2, 2),
        (YEAR, np.int32(1), 1),
        (YEAR, -1, -1),
        (SIDE, "right", 1),
        (SIDE, 0, 0),
        (SCORE, 2, 2.0),
        (SCORE, "0.5", 0.5),
        (SCORE, np.float64(-3), -3.0),
    ],
)
def test_values_become_scalars_of_the_type(reader: LabelReader, value: Any, expected: float) -> None:
    found = reader(value)
    assert found.shape == () and found.dtype == np.dtype(reader.spec.dtype)
    assert found == expected


@pytest.mark.parametrize(
    ("reader", "value", "message"),
    [
        (YEAR, 3, r"label 'year' must be less than 3, the number of classes \(-1: none\), got 3"),
        (YEAR, -2, "label 'year' must be less than 3, the number of classes"),
        (YEAR, 1.5, "label 'year' must be an integer, got 1.5"),
        (YEAR, True, "label 'year' must be an integer, got True"),
        (YEAR, "1", "label 'year' must be an integer, got '1'"),
        (SIDE, "middle", r"label 'half' must be one of \['left', 'right'\], got 'middle'"),
        (SCORE, "high", "label 'score' must be a number, got 'high'"),
        (SCORE, [1, 2], r"label 'score' must be a number, got \[1, 2\]"),
    ],
)
def test_other_values_are_refused(reader: LabelReader, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reader(value)


def test_absent_labels_are_packed_as_none() -> None:
    """Every third sample of the kit's data has no label."""
    built = build(synthetic_recipe())
    samples, _ = built.pipeline.samples([Place(0, place, place, 0.0) for place in range(6)])
    assert [sorted(sample.labels) for sample in samples] == [[], *[["begins", "mean"]] * 2, [], *[["begins", "mean"]] * 2]
    labels = built.pipeline.pack(samples).labels
    data = [Waves(None)[index] for index in range(6)]  # pyright: ignore[reportArgumentType]
    assert labels["begins"].dtype == np.int64 and labels["mean"].dtype == np.float32
    assert labels["begins"].tolist() == [row.get("begins", -1) for row in data]
    np.testing.assert_array_equal(labels["mean"], np.array([row.get("mean", np.nan) for row in data], np.float32))
    nobody = built.pipeline.pack([samples[0]]).labels
    assert nobody["begins"].tolist() == [-1] and np.isnan(nobody["mean"]).all()


def test_labels_are_read_from_their_field_and_none_is_absent() -> None:
    built = build(synthetic_recipe())

    class Renamed(Waves):
        def __getitem__(self, index: int) -> dict[str, Any]:
            row = super().__getitem__(index)
            return {"letters": row["letters"], "first": None if index == 1 else 1}

    labels = {"begins": LabelReader("first", FieldSpec("int64", arity=0, classes=2))}
    pipeline = dataclasses.replace(built.pipeline, dataset=Renamed(None), labels=labels)  # pyright: ignore[reportArgumentType]
    batch = pipeline([Place(0, place, place, 0.0) for place in range(3)]).batch
    assert batch is not None
    assert {name: values.tolist() for name, values in batch.labels.items()} == {"begins": [1, -1, 1]}


def test_a_sample_with_a_wrong_label_is_bad() -> None:
    built = build(synthetic_recipe())
    labels = {"begins": LabelReader("begins", FieldSpec("int64", arity=0, classes=1))}
    pipeline = Pipeline(built.dataset, built.pipeline.modalities, built.pipeline.views, built.specs, 0, "train", labels)
    loaded = pipeline([Place(0, place, place, 0.0) for place in range(12)])
    high = [index for index in range(12) if Waves(None)[index].get("begins") == 1]  # pyright: ignore[reportArgumentType]
    assert high
    assert [bad.position for bad in loaded.bad] == high
    assert all("label 'begins' must be less than 1, the number of classes" in bad.reason for bad in loaded.bad)


def test_the_name_of_a_whole_sample() -> None:
    assert [Draw(0, 0, key).whole for key in ("a.txt#812", "a.txt", "a#b.txt", "a#1#2", "#7")] == [
        "a.txt",
        "a.txt",
        "a#b.txt",
        "a#1",
        "",
    ]
