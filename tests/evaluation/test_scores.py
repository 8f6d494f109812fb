"""Scores end to end: a planted signal, the split, labels, and what is said about them."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built
from omnimask.data.label_tables import Row, parse_labels
from omnimask.data.validation_split import held_out
from omnimask.errors import UserError
from omnimask.evaluation import as_json, evaluate
from omnimask.evaluation.confidence_intervals import Interval
from omnimask.evaluation.feature_table import PRETRAINED, RANDOM, RAW
from omnimask.evaluation.features import backbone
from omnimask.interfaces import TokenSpec

from .conftest import Letters, built_on, random_samples, small_recipe

GROUPS, SYNONYMS = 4, 40


def planted(count: int) -> Built:
    """Ids in groups of synonyms, a sample's class being the group that most of its ids are of; the model's embedding knows the
    synonyms, as a masked model of a language learns them. Few labels show few of the synonyms."""
    rng = np.random.default_rng(0)
    samples: dict[str, dict[str, Any]] = {}
    for number in range(count):
        groups = np.where(np.arange(6) < 4, number % GROUPS, rng.integers(0, GROUPS, 6))
        samples[f"p/{number:03d}"] = {"values": groups * SYNONYMS + rng.integers(0, SYNONYMS, 6), "label": number % GROUPS}
    built = built_on(samples, small_recipe(Synonyms))
    with torch.no_grad():
        table = cast(torch.nn.Module, backbone(built.model).embeddings["synonyms"]).get_parameter("weight")
        centres = torch.randn(GROUPS, table.shape[1], generator=torch.Generator().manual_seed(0))
        table[: GROUPS * SYNONYMS] = centres.repeat_interleave(SYNONYMS, 0)
    return built


class Synonyms(Letters):
    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=GROUPS * SYNONYMS)


def test_pretrained_features_win_where_the_signal_is_planted() -> None:
    found = evaluate(planted(240), draws=8)
    assert len(found.differences) == 2 * 2 * 4
    for each in found.differences:
        if each.labels != "all":
            assert each.verdict == "better beyond the interval", each
    assert found.seen == 0
    assert (found.num_classes, found.num_train + found.num_test) == (4, 240)


def test_an_untrained_model_is_no_better_than_itself() -> None:
    found = evaluate(built_on(random_samples(60)), draws=4)
    against = {each.baseline: each for each in found.differences if each.labels == 2}
    assert against[RANDOM].difference == Interval(0, 0, 0)
    assert against[RANDOM].verdict == "within the interval"


def test_scores_are_deterministic(samples: dict[str, dict[str, Any]]) -> None:
    first, second = (json.dumps(as_json(evaluate(built_on(samples), draws=3))) for _ in range(2))
    assert first == second


def test_the_split_is_the_runs_own(samples: dict[str, dict[str, Any]]) -> None:
    train, test = held_out(samples, 0.3, 0)
    found = evaluate(built_on(samples), draws=2, probes=("knn",))
    assert (found.num_train, found.num_test) == (len(train), len(test))
    assert (found.labels_from, found.split_from) == ("the data set's field label", "the run's held-out samples")
    keys = list(samples)
    assert evaluate(built_on(samples), draws=2, pretrained_on={keys[i] for i in train}).seen == 0
    assert evaluate(built_on(samples), draws=2, pretrained_on=set(keys)).seen == len(test)


def table_of(samples: dict[str, dict[str, Any]], split: bool) -> dict[str, Row]:
    lines = ["key,label,split"]
    lines += [f"{key},{number % 2},{('train', 'test')[number % 3 == 0] if split else ''}" for number, key in enumerate(samples)]
    return parse_labels("\n".join(lines).encode(), "labels.csv")


def test_a_table_gives_labels_and_the_split(samples: dict[str, dict[str, Any]]) -> None:
    found = evaluate(built_on(samples), draws=2, table=table_of(samples, True), source="labels.csv")
    assert (found.num_train, found.num_test, found.num_classes) == (40, 20, 2)
    assert (found.labels_from, found.split_from) == ("labels.csv", "the column split of labels.csv")
    without = evaluate(built_on(samples), draws=2, table=table_of(samples, False), source="labels.csv")
    assert without.split_from == "the run's held-out samples"
    some = dict(list(table_of(samples, True).items())[:30])
    assert evaluate(built_on(samples), draws=2, table=some, source="t.csv").notes == (
        "30 samples have no row in t.csv and were skipped",
    )


def test_a_table_of_other_samples_is_refused(samples: dict[str, dict[str, Any]]) -> None:
    table = {**table_of(samples, True), "who": Row("1", "test", 99)}
    with pytest.raises(UserError, match=r"labels.csv:99: unknown sample 'who'"):
        evaluate(built_on(samples), table=table, source="labels.csv")
    one_sided = {key: Row(row.label, "train", row.line) for key, row in table_of(samples, True).items()}
    with pytest.raises(UserError, match=r"labels.csv: no row has the split test; both train and test are needed"):
        evaluate(built_on(samples), table=one_sided, source="labels.csv")


def with_labels(samples: dict[str, dict[str, Any]], label: Any) -> dict[str, dict[str, Any]]:
    return {key: {**sample, "label": label(number)} for number, (key, sample) in enumerate(samples.items())}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda number: None, r"the samples have no field 'label'.*--labels FILE.csv.*keys look like 's/000'"),
        (lambda number: 0.5 * number, r"the label of s/\d+ is .*\(float\); probes are classifiers"),
        (lambda number: [1, 0], r"the label of s/\d+ is \[1, 0\] \(list\)"),
        (lambda number: "same", r"all training samples have the label 'same'"),
        (lambda number: number, r"each of the \d+ training samples has a different label"),
    ],
)
def test_labels_that_no_probe_can_use(samples: dict[str, dict[str, Any]], label: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(built_on(with_labels(samples, label)))


def test_odd_labels_are_noted(samples: dict[str, dict[str, Any]]) -> None:
    train, test = held_out(samples, 0.3, 0)
    odd = {int(train[0]): "rare", int(train[1]): None, int(train[2]): -1, int(test[0]): "never seen"}
    changed = with_labels(samples, lambda number: odd.get(number, f"class {number % 3}"))
    list(changed.values())[int(test[1])]["broken"] = True
    found = evaluate(built_on(changed), draws=2, probes=("linear",))
    assert (found.num_train, found.num_test, found.num_classes) == (len(train) - 2, len(test) - 1, 4)
    assert found.notes == (
        "1 samples are unreadable and were skipped",
        "1 scored samples have a class without training labels and count as wrong",
        "1 of 4 classes have fewer than 2 training labels; all of theirs are used",
        "1 of 4 classes have fewer than 5 training labels; all of theirs are used",
        "1 of 4 classes have fewer than 10 training labels; all of theirs are used",
    )
    assert max(point.accuracy.mean for point in found.points) <= 1 - 1 / (len(test) - 1)


def test_what_cannot_be_scored_is_refused(samples: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="--probe: unknown probe finetune; probes: knn, linear"):
        evaluate(built_on(samples), probes=("finetune",))
    with pytest.raises(UserError, match="--draws 1: an interval needs at least 2 draws"):
        evaluate(built_on(samples), draws=1)
    with pytest.raises(UserError, match=r"data.validation: 0.0 leaves no labeled test samples among the 60;"):
        evaluate(built_on(samples, small_recipe(validation=0.0)))


def test_fewer_samples_can_be_asked_for(samples: dict[str, dict[str, Any]]) -> None:
    found = evaluate(built_on(samples), draws=2, limit=12, probes=("knn",))
    assert (found.num_train, found.num_test) == (12, 12)
    assert all(note.startswith("12 of ") for note in found.notes)
    assert len(found.notes) == 2


def test_json_has_every_score_and_no_infinity() -> None:
    samples = random_samples(40, classes=2)
    keys = list(samples)
    table = {key: Row(str(samples[key]["label"]), "test" if key == keys[0] else "train", 1) for key in keys}
    found = evaluate(built_on(samples), draws=2, table=table, probes=("knn",))
    record = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert [(each["labels_per_class"], each["features"]) for each in record["scores"]][:3] == [
        (2, PRETRAINED),
        (2, RANDOM),
        (2, RAW),
    ]
    last = record["differences"][-1]
    assert (last["labels_per_class"], last["low"], last["high"], last["verdict"]) == ("all", None, None, "within the interval")
