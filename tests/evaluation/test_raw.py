"""What a probe sees without a network, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from omnimask.data.chunks import read_chunks
from omnimask.evaluation import raw_input as raw
from omnimask.evaluation.features import clean_pipeline
from omnimask.evaluation.few_label_curves import Split, curve
from omnimask.evaluation.probe import FEW_LABEL_C, PROBES, Scaling
from omnimask.evaluation.raw_input import RawContent

from .conftest import WIDTH, Letters, built_on, random_samples, small_recipe
from .test_features import Framed


def features(
    samples: dict[str, dict[str, Any]], tokenizer: type | None = None, *, train: int | None = None, whole: Any = str
) -> Any:
    """Raw content; the first ``train`` samples (all if None) are those of the training side."""
    built = built_on(samples, small_recipe(tokenizer) if tokenizer else None)
    content = RawContent(built.specs)
    for chunk in read_chunks(clean_pipeline(built, built.dataset), range(len(built.dataset)), 20, {}):
        content.add(chunk.samples, [whole(key) for key in chunk.batch.keys])
    number = len({whole(key) for key in samples})
    return content.features(np.arange(number) < (number if train is None else train))


def test_continuous_content_is_scaled_and_laid_end_to_end() -> None:
    samples = random_samples(3)
    expected = np.stack([(sample["values"].reshape(-1) - 1) / 2 for sample in samples.values()])
    np.testing.assert_allclose(features(samples), expected, rtol=1e-6)


def test_continuous_content_of_differing_lengths_is_mean_and_deviation() -> None:
    samples = random_samples(3, lengths=(2, 9))
    scaled = [(sample["values"] - 1) / 2 for sample in samples.values()]
    expected = np.stack([np.concatenate([values.mean(0), values.std(0)]) for values in scaled])
    found = features(samples)
    assert found.shape == (3, 2 * WIDTH)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ids_are_counted_by_hand() -> None:
    samples = {"a": {"values": [0, 3, 3, 0, 0]}, "b": {"values": [4, 4]}, "c": {"values": [0]}, "d": {"values": [1, 0]}}
    found = features(samples, Letters, train=3).toarray()
    # of three training samples, two have 0, one has 3, one has 4; 1 is in none of them and is not counted
    often, rare = 1 + math.log(4 / 3), 1 + math.log(4 / 2)
    first = np.array([math.log(4) * often, math.log(3) * rare, 0])
    np.testing.assert_allclose(found[0], first / np.linalg.norm(first), rtol=1e-6)
    np.testing.assert_allclose(found[1:], np.array([[0, 0, 1], [1, 0, 0], [1, 0, 0]]), rtol=1e-6)


def test_parts_are_counted_together() -> None:
    parts = {"a#0": {"values": [0, 3]}, "b": {"values": [1]}, "a#2": {"values": [3, 3]}}
    wholes = {"a": {"values": [0, 3, 3, 3]}, "b": {"values": [1]}}
    found = features(parts, Letters, whole=lambda key: key.partition("#")[0])
    np.testing.assert_array_equal(found.toarray(), features(wholes, Letters).toarray())


def test_special_tokens_are_not_counted() -> None:
    framed = {"a": {"values": [3, 0, 0, 1, 4]}, "b": {"values": [3, 1, 4]}}
    bare = {"a": {"values": [0, 0, 1]}, "b": {"values": [1]}}
    np.testing.assert_array_equal(features(framed, Framed).toarray(), features(bare, Letters).toarray())


def test_the_ids_that_most_samples_have_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MOST_IDS", 2)
    samples = {"a": {"values": [0, 0, 0, 2]}, "b": {"values": [2, 4]}, "c": {"values": [4, 2]}}
    assert features(samples, Letters).shape == (3, 2)
    assert features(samples, Letters).toarray()[0].tolist() == [1, 0]


def random_counts() -> tuple[Any, Split, list[str]]:
    rng = np.random.default_rng(0)
    classes = np.arange(90) % 3
    samples = {
        f"{i:02d}": {"values": rng.choice(5, 12, p=np.roll([0.4, 0.3, 0.1, 0.1, 0.1], kind))} for i, kind in enumerate(classes)
    }
    return features(samples, Letters), Split(np.arange(60), np.arange(60, 90), classes), list(samples)


@pytest.mark.parametrize("probe", PROBES)
def test_sparse_features_give_what_dense_ones_give(probe: str) -> None:
    sparse, split, keys = random_counts()
    points = curve({"sparse": sparse, "dense": sparse.toarray()}, split, keys, probe, draws=3)
    by_place = {(point.labels, point.features): point.draws for point in points}
    for labels in {point.labels for point in points}:
        np.testing.assert_allclose(by_place[labels, "sparse"], by_place[labels, "dense"], atol=1 / 30 + 1e-9)


def test_scaling_of_sparse_features_is_that_of_dense_ones() -> None:
    sparse, _, _ = random_counts()
    one, other = Scaling.of(sparse), Scaling.of(sparse.toarray())
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-6)
    assert one.scale == pytest.approx(other.scale, rel=1e-6)
    np.testing.assert_allclose(one(sparse), other(sparse.toarray()), atol=1e-6)


def test_the_linear_probe_does_not_depend_on_the_mean() -> None:
    """So that sparse features need not be moved: the intercept has no penalty."""
    from sklearn.linear_model import LogisticRegression

    sparse, split, _ = random_counts()
    moved, still = Scaling.of(sparse)(sparse), Scaling.of(sparse).without_shift(sparse)
    models = [LogisticRegression(C=FEW_LABEL_C, max_iter=5000, tol=1e-8).fit(x[:60], split.classes[:60]) for x in (moved, still)]
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, atol=2e-3)
