"""Losses of answers that are numbers, beside that of the mean answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omnimask.components.targets.patch import Patch
from omnimask.data.chunks import read_chunks
from omnimask.evaluation.continuous_answers import mean_answers, score_continuous
from omnimask.evaluation.features import clean_pipeline, encode
from omnimask.interfaces import Prediction, Run
from omnimask.training.devices.precision import Precision

from .conftest import Letters, built_on, random_samples, small_recipe

FP32 = Precision("fp32", torch.device("cpu"))


def test_the_mean_answer_is_that_of_the_training_samples() -> None:
    built = built_on(random_samples(200))
    (mean,) = mean_answers(built).values()
    assert mean.modality in built.specs and mean.num_samples == len(built.train_indices)
    np.testing.assert_allclose(mean.mean, np.full(len(mean.mean), mean.mean.mean()), atol=0.2)
    (scores,) = score_continuous(built, mean_answers(built), FP32)
    terms = [built.model.eval()(batch).terms for batch in built.validation_batches()]
    counts = [sum(built.model.counts(batch).values()) for batch in built.validation_batches()]
    losses = [float(next(iter(term.values()))) for term in terms]
    assert scores.model.mean == pytest.approx(np.average(losses, weights=counts), rel=1e-5)
    assert scores.num_targets == sum(counts) and scores.num_samples == len(built.validation_indices)
    assert scores.baseline.low < scores.baseline.mean < scores.baseline.high


def test_a_model_that_knows_all_explains_all_and_the_mean_itself_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_on(random_samples(60))
    means = mean_answers(built)
    (mean,) = means.values()
    plain = Patch.loss

    def right(self: Any, prediction: Prediction, answers: torch.Tensor) -> torch.Tensor:
        is_guess = prediction.features.shape == answers.shape and prediction.head(prediction.features) is prediction.features
        return plain(self, prediction, answers) if is_guess else torch.zeros(len(answers))

    monkeypatch.setattr(Patch, "loss", right)
    (scores,) = score_continuous(built, means, FP32)
    assert scores.explained == 1.0
    guess = torch.from_numpy(mean.mean).float()
    monkeypatch.setattr(Patch, "loss", lambda self, prediction, answers: (guess - answers).square().mean(1))
    (scores,) = score_continuous(built, means, FP32)
    assert scores.explained == pytest.approx(0.0, abs=1e-6)


def test_ids_and_answers_of_other_passes_have_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {str(i): {"values": np.arange(8) % 5} for i in range(20)}
    assert mean_answers(built_on(samples, small_recipe(Letters))) == {}

    def of_a_teacher(self: Any, prediction: Prediction, run: Run) -> torch.Tensor:
        return run.results["teacher"].encoded.features.data

    monkeypatch.setattr(Patch, "answers", of_a_teacher)
    assert mean_answers(built_on(random_samples(20))) == {}


def test_features_of_one_modality() -> None:
    built = built_on(random_samples(6))
    (name,) = built.specs
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), range(6), 10_000, {})
    every, own = (encode(built.model, chunk.batch, "mean", FP32, modality) for modality in (None, name))
    np.testing.assert_array_equal(every, own)
    assert not encode(built.model, chunk.batch, "mean", FP32, "another").any()
