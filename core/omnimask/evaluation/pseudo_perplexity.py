"""Pseudo-perplexity: every token is hidden alone, and predicted from all others [0].

[0] Salazar et al.: Masked Language Model Scoring, ACL 2020.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.builder.build import Built
from omnimask.data.collation import collate
from omnimask.data.planner import Place
from omnimask.data.progress_lines import watched
from omnimask.data.validation_split import whole_key
from omnimask.errors import UserError
from omnimask.evaluation.id_answers import AnswerScores, ScoreTable, scored_rows
from omnimask.interfaces import SPECIAL, Draw, MaskedBatch, Masking, Sample
from omnimask.messages.printable import printable
from omnimask.run.exact_masks import exact_corruptor
from omnimask.run.unigram import Unigram
from omnimask.training.devices.precision import Precision

logger = logging.getLogger(__name__)

MAX_TOKENS = 2_000
"""Default number of tokens to predict."""


@dataclass(frozen=True)
class Chosen:
    """Held-out samples, each with its key (for a part, of the whole)."""

    samples: tuple[Sample, ...]
    keys: tuple[str, ...]
    num_tokens: int


def pseudo_perplexity(
    built: Built,
    unigrams: Mapping[str, Unigram],
    precision: Precision,
    *,
    max_tokens: int = MAX_TOKENS,
    pretrained_on: Collection[str] = (),
) -> list[AnswerScores]:
    """Return scores of every term with id answers, each token hidden alone. Special tokens are not hidden.

    Held-out samples are taken whole, in an order from the recipe's seed, up to ``max_tokens`` tokens in total. The first one is
    taken regardless of its length.

    Args:
        built: with trained weights in ``built.model``, which is on ``precision.device``.
        unigrams: by term.
        precision: of the forward pass, and the device.
        max_tokens: number of tokens to predict, each by a forward pass of its sample.
        pretrained_on: keys of the samples that the weights were trained on.

    Raises:
        UserError: the recipe's corruptor cannot hide a token alone, or does not ask for all hidden tokens.
    """
    chosen = choose(built, max_tokens)
    logger.info("pseudo-perplexity: predicting %d tokens of %d samples, one at a time", chosen.num_tokens, len(chosen.samples))
    tables = {term: ScoreTable() for term in unigrams}
    hidden = dict.fromkeys(built.specs, 0)
    for number in watched(range(len(chosen.samples)), "pseudo-perplexity"):
        for batch, name, count in hidden_alone(built, chosen.samples[number], built.inference_tokens(precision.device.type)):
            hidden[name] += count
            for term, rows in scored_rows(built, batch, precision).items():
                if term in tables and rows.asked.modality == name:
                    is_token = rows.of >= 0
                    model = {score: values[is_token] for score, values in rows.model.items()}
                    ids = rows.asked.ids[is_token]
                    unigram = unigrams[term].among(built.specs[name].vocabulary or 0)
                    tables[term].add([chosen.keys[number]] * len(ids), model, unigram.scores(ids))
    for term, table in tables.items():
        asked, number = len(table.names), hidden[unigrams[term].modality]
        if asked != number:
            raise UserError(f"--pseudo-perplexity: the corruptor has {asked} of {number} masked tokens as targets, not all")
    return [table.scores(term, unigrams[term], pretrained_on) for term, table in tables.items() if table.names]


def choose(built: Built, max_tokens: int) -> Chosen:
    """Return the held-out samples to score."""
    number = len(built.validation_indices)
    order = Draw(built.recipe.seed, 0, "samples", stage=("pseudo-perplexity",)).rng("order").permutation(number)
    samples: list[Sample] = []
    names: list[str] = []
    total = 0
    for index in built.validation_indices[order].tolist():
        try:
            sample = built.validation.sample(Place(0, 0, index, 0.0))
        except (OSError, ValueError) as error:
            logger.warning("skipping held-out sample %s: %s", printable(built.dataset.key(index)), printable(str(error)))
            continue
        count = sum(len(content) for content in _content(built, sample).values())
        if samples and total + count > max_tokens:
            break
        samples.append(sample)
        names.append(whole_key(built.dataset, index))
        total += count
    if not samples:
        raise UserError("--pseudo-perplexity: no held-out samples; hold some out with data.validation")
    return Chosen(tuple(samples), tuple(names), total)


def hidden_alone(built: Built, sample: Sample, budget: int) -> Iterator[tuple[MaskedBatch, str, int]]:
    """Yield batches of copies of a sample, each with another hidden token, with the tokens' modality and the number of copies.

    A batch has at most ``budget`` tokens, but at least one copy.
    """
    corruptor, size = exact_corruptor(built), max(1, budget // max(1, len(sample)))
    for name, content in _content(built, sample).items():
        for start in range(0, len(content), size):
            part = content[start : start + size].tolist()
            views = [dict.fromkeys(built.validation.views, corruptor(sample, _alone(sample, name, at))) for at in part]
            yield collate([sample] * len(part), views, built.specs), name, len(part)


def _content(built: Built, sample: Sample) -> dict[str, NDArray[np.int64]]:
    """Return the places of non-special tokens, by modality of ids."""
    found: dict[str, NDArray[np.int64]] = {}
    for name, tokens in sample.tokens.items():
        if built.specs[name].vocabulary is not None:
            is_special = np.asarray(tokens.fields.get(SPECIAL, np.zeros(len(tokens), bool)), bool)
            found[name] = np.flatnonzero(~is_special)
    return found


def _alone(sample: Sample, modality: str, at: int) -> dict[str, Masking]:
    """Return maskings that hide one token and make it the target."""
    found: dict[str, Masking] = {}
    for name, tokens in sample.tokens.items():
        is_target = np.zeros(len(tokens), bool)
        is_target[at : at + 1] = name == modality
        found[name] = Masking(~is_target, is_target)
    return found
