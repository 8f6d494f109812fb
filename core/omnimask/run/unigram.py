"""Baseline without input: the frequency of each id among the right answers in training. N targets, V ids."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from omnimask.builder.build import Built
from omnimask.data.chunks import read_chunks
from omnimask.data.order import shuffled
from omnimask.data.progress_lines import Paced
from omnimask.interfaces import Draw, MaskedBatch, Predictor, Target
from omnimask.interfaces.answers import ACCURACY, CROSS_ENTROPY, TOP5, RanksIds
from omnimask.network.model import asked_ids

logger = logging.getLogger(__name__)

SAMPLES, TOKENS = 4_000, 500_000
"""Limits for counting: the number of training samples, and the tokens after which no more are read."""


@dataclass(frozen=True)
class Unigram:
    """Unigram model of answers.

    ``counts`` (V,) is the number of times each id was the right answer in ``num_samples`` training samples, masked as in the
    recipe: if a masker selects only some kinds of tokens, the frequencies are those of these. ``modality`` is the modality of the
    ids.

    Probabilities are frequencies with Good-Turing smoothing [0]. The share of answers seen once (one more, of two more, so that it
    is never 0 or 1) is subtracted and divided equally among unseen ids.

    [0] Good: The Population Frequencies of Species and the Estimation of Population Parameters, 1953.
    """

    counts: NDArray[np.int64]
    num_samples: int
    modality: str = ""

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities (V,), each above 0, of sum 1."""
        total, unseen = int(self.counts.sum()), int((self.counts == 0).sum())
        if not total:
            return np.full(len(self.counts), 1 / len(self.counts))
        missing = (int((self.counts == 1).sum()) + 1) / (total + 2) if unseen else 0.0
        return np.where(self.counts > 0, (1 - missing) * self.counts / total, missing / max(unseen, 1))

    def among(self, count: int) -> Unigram:
        """Return the frequencies among the first ``count`` ids: those of tokens, without literal answers."""
        return replace(self, counts=self.counts[:count])

    def scores(self, ids: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return scores (N,) by name for the right answers ``ids``, like ``score_ids`` for a model."""
        first = np.argsort(-self.counts, kind="stable")[:5]
        return {
            ACCURACY: (ids == first[0]).astype(np.float64),
            TOP5: np.isin(ids, first).astype(np.float64),
            CROSS_ENTROPY: -np.log(self.probabilities[ids]),
        }


def has_ids(built: Built) -> bool:
    """Return whether any predictor of the model answers with ids."""
    predictors = [predictor for part in built.model.each() if part.grad for predictor in part.predictors.values()]
    return any(isinstance(_target(predictor, modality), RanksIds) for predictor in predictors for modality in built.specs)


def _target(predictor: Predictor, modality: str) -> Target | None:
    """Return the predictor's target, or None if it handles other modalities."""
    try:
        return predictor.target(modality)
    except KeyError:
        return None


def count_answers(built: Built) -> dict[str, Unigram]:
    """Count answers by term in training samples with fixed masks. The recipe's seed selects the samples.

    At most ``SAMPLES`` samples are read, and no more after ``TOKENS`` tokens.
    """
    rng = Draw(built.recipe.seed, 0, "samples", stage=("unigram",)).rng("order")
    chosen = list(islice(shuffled(built.train_indices, rng), SAMPLES))
    counts: dict[str, NDArray[np.int64]] = {}
    modalities: dict[str, str] = {}
    samples = tokens = 0
    tell = Paced(len(chosen), "counting answers for the unigram baseline", "training samples")
    for chunk in read_chunks(built.validation, chosen, built.inference_tokens("cpu"), {}):
        for term, asked in asked_ids(built.model, chunk.batch).items():
            found = np.bincount(asked.ids, minlength=built.specs[asked.modality].num_answers)
            counts[term] = counts[term] + found if term in counts else found
            modalities[term] = asked.modality
        samples, tokens = samples + len(chunk.samples), tokens + chunk.batch.num_tokens
        tell(samples)
        if tokens >= TOKENS:
            break
    logger.info("the unigram baseline was counted in %d of %d training samples", samples, len(built.train_indices))
    return {term: Unigram(found, samples, modalities[term]) for term, found in counts.items()}


def unigram_scores(built: Built, num_samples: int | None = None) -> dict[str, dict[str, float]]:
    """Return the unigram's mean scores on held-out targets, by term and name; empty if no predictor answers with ids.

    Args:
        built: with the data.
        num_samples: number of held-out samples; None for all.
    """
    if not has_ids(built):
        return {}
    return mean_scores(built, count_answers(built), built.validation_batches(num_samples=num_samples))


def mean_scores(built: Built, unigrams: Mapping[str, Unigram], batches: Iterable[MaskedBatch]) -> dict[str, dict[str, float]]:
    """Return means over all targets of some batches, by term and name."""
    parts: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for batch in batches:
        for term, asked in asked_ids(built.model, batch).items():
            if term in unigrams:
                for name, values in unigrams[term].scores(asked.ids).items():
                    parts.setdefault(term, {}).setdefault(name, []).append(values)
    return {term: {name: float(np.concatenate(values).mean()) for name, values in found.items()} for term, found in parts.items()}
