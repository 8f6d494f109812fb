"""Reconstructions of a model, as raw values to look at. L tokens of a sample and modality, N targets, P store tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import (
    CONTENT,
    MaskedBatch,
    Prediction,
    RanksIds,
    Reconstruction,
    Run,
    Sample,
    Stream,
    Target,
    Tokenizer,
    Tokens,
    TokenSpec,
)
from omnimask.messages.printable import printable
from omnimask.network.inference import predicted
from omnimask.network.model import MaskedModel, each_prediction
from omnimask.report.blanks import Ranking, asked_in_store, columns_of, describe, no_ranking, shown_in_store
from omnimask.training.devices.precision import Precision

Predicted: TypeAlias = tuple[NDArray[Any], NDArray[np.bool_]]
"""(P_m, ...) content in stored units or ids, and (P_m,) whether it was predicted."""

_WITHOUT_CONTENT = "no predictor answers with content, so nothing is filled in"


@dataclass(frozen=True)
class Answers:
    """A model's answers for the tokens of a batch, by modality.

    Attributes:
        predicted: content. Without a predictor that answers with content, a modality has none.
        ranking: ranked ids, if tokens are ids.
        notes: the targets' notes on parts not answered by the model.
    """

    predicted: dict[str, Predicted]
    ranking: Mapping[str, Ranking]
    notes: Mapping[str, dict[str, None]]


def reconstruct(
    model: MaskedModel,
    samples: Sequence[Sample],
    batch: MaskedBatch,
    tokenizers: Mapping[str, Tokenizer],
    specs: Mapping[str, TokenSpec],
    precision: Precision,
) -> dict[str, list[Reconstruction]]:
    """Return the reconstructions of every sample by modality. A modality without tokens in any sample has none.

    In ``filled``, visible tokens stay unchanged, and hidden ones come from the first predictor of content. A hidden token without a
    prediction looks as in ``visible``: the modality's mean for continuous content; ids are left out. If no predictor answers with
    content, as with features of a teacher, ``filled`` is None. Ids have ``blanks`` with the candidates of the first predictor to
    rank ids.

    Args:
        model: on ``precision.device``. It is evaluated with its current weights, and its mode is restored.
        samples: the samples of ``batch``, in its order.
        batch: on the host, with one masking of each sample (:attr:`omnimask.data.pipeline.Pipeline.without_repetitions`).
        tokenizers: tokenizers by modality, for decoding.
        specs: specs by modality.
        precision: precision of the forward pass, and the device.
    """
    answers = _answers(model, batch, specs, precision)
    found = _each(samples, batch, tokenizers, specs, answers)
    return {name: [dataclasses.replace(one, note="; ".join(answers.notes[name])) for one in each] for name, each in found.items()}


def masked_only(
    samples: Sequence[Sample], batch: MaskedBatch, tokenizers: Mapping[str, Tokenizer], specs: Mapping[str, TokenSpec]
) -> dict[str, list[Reconstruction]]:
    """Return reconstructions like :func:`reconstruct`, without a model: ``filled`` is None, and blanks have no candidates."""
    return _each(samples, batch, tokenizers, specs, None)


def _each(
    samples: Sequence[Sample],
    batch: MaskedBatch,
    tokenizers: Mapping[str, Tokenizer],
    specs: Mapping[str, TokenSpec],
    answers: Answers | None,
) -> dict[str, list[Reconstruction]]:
    found: dict[str, list[Reconstruction]] = {name: [] for name in tokenizers}
    for name, tokenizer in tokenizers.items():
        spec = specs[name]
        is_visible, shown, is_asked = visible_in_store(batch, name), shown_in_store(batch, name), asked_in_store(batch, name)
        offsets = batch.store[name].layout.offsets.tolist()
        ranking = no_ranking(offsets[-1], spec) if answers is None else answers.ranking[name]
        for number, sample in enumerate(samples):
            if name in sample.tokens and len(sample.tokens[name]):
                part = slice(offsets[number], offsets[number + 1])
                tokens = sample.tokens[name]
                visible = tokenizer.decode(_shown(tokens, spec, is_visible[part]))
                filled = None
                if answers is not None and name in answers.predicted:
                    content, is_known = answers.predicted[name]
                    filled = tokenizer.decode(_filled(tokens, spec, is_visible[part], content[part], is_known[part]))
                hidden = _hidden(tokenizer, tokens, spec, is_visible[part])
                one = Reconstruction(printable(sample.draw.key), tokenizer.decode(tokens), visible, filled, is_hidden=hidden)
                if spec.vocabulary is not None:
                    ranked = ranking.part(part.start, part.stop)
                    pieces, blanks = describe(tokens, tokenizer, spec, shown[part], is_asked[part], ranked)
                    one = dataclasses.replace(one, pieces=pieces, blanks=blanks)
                found[name].append(one)
    return found


def _hidden(tokenizer: Tokenizer, tokens: Tokens, spec: TokenSpec, is_visible: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return a mask of the raw values from hidden tokens. Return None if raw values are not arrays."""
    if spec.width is None:
        return None
    # decode twice, the second time with hidden tokens shifted by one standard deviation: the changed values are hidden
    mean, std = (np.broadcast_to(np.asarray(value, np.float32), spec.width) for value in (spec.mean, spec.std))
    plain = np.broadcast_to(mean, (len(tokens), *spec.width)).copy()
    marked = plain.copy()
    marked[~is_visible] += std
    before, after = (tokenizer.decode(dataclasses.replace(tokens, content=content)) for content in (plain, marked))
    if not (isinstance(before, np.ndarray) and isinstance(after, np.ndarray) and before.shape == after.shape):
        return None
    return (before != after) & ((before == before) | (after == after))  # what is missing (NaN) in both is not hidden


def visible_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.bool_]:
    """Return (P_m,) whether the main encoder reads the token's own content in the first view's context.

    ``batch`` is on the host.
    """
    base, count = batch.base[modality], batch.store[modality].layout.num_slots
    is_visible = np.zeros(count, bool)
    of = _sources(next(iter(batch.views.values())).context) - base
    is_visible[of[(of >= 0) & (of < count)]] = True
    return is_visible


def _sources(stream: Stream) -> NDArray[np.int64]:
    source, literal = np.asarray(stream.source), np.asarray(stream.literal)
    return source[(source >= 0) & (literal == CONTENT)]


def _answers(model: MaskedModel, batch: MaskedBatch, specs: Mapping[str, TokenSpec], precision: Precision) -> Answers:
    found = Answers(
        {},
        {name: no_ranking(packed.layout.num_slots, specs[name]) for name, packed in batch.store.items()},
        {name: {} for name in batch.store},
    )
    with predicted(model, batch, precision) as run:
        for _, prediction, target in each_prediction(model, run):
            _add(found, prediction, target, run, specs)
    for name in batch.store:
        if name not in found.predicted:
            found.notes[name][_WITHOUT_CONTENT] = None
    return found


def _nothing(data: Tensor) -> Predicted:
    return np.zeros(data.shape, np.int64 if data.ndim == 1 else np.float32), np.zeros(len(data), bool)


def _add(found: Answers, prediction: Prediction, target: Target, run: Run, specs: Mapping[str, TokenSpec]) -> None:
    """Add the answers of one prediction."""
    name = prediction.modality
    of = (prediction.targets.of - run.batch.base[name]).cpu().numpy()
    values = target.content(prediction, run)
    if values is not None:
        found.notes[name].update(dict.fromkeys(filter(None, [getattr(target, "content_note", "")])))
        _put(found.predicted.setdefault(name, _nothing(run.batch.store[name].data)), of, values.cpu().numpy())
    if isinstance(target, RanksIds):
        ids, probabilities = target.candidates(prediction, columns_of(specs[name]))
        found.ranking[name].put(of, ids.cpu().numpy(), probabilities.cpu().numpy())


def _put(found: Predicted, of: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Store answers for store tokens without an answer from an earlier predictor."""
    content, is_known = found
    is_free = (of >= 0) & ~is_known[np.maximum(of, 0)] if len(is_known) else np.zeros(len(of), bool)
    content[of[is_free]] = values[is_free]
    is_known[of[is_free]] = True


def _filled(
    tokens: Tokens, spec: TokenSpec, is_visible: NDArray[np.bool_], predicted: NDArray[Any], is_predicted: NDArray[np.bool_]
) -> Tokens:
    if spec.vocabulary is not None:  # a head also answers with specials, which stand for no token
        specials = list(spec.special_ids.values())
        is_predicted = is_predicted & (predicted < spec.vocabulary) & ~np.isin(predicted, specials)
    is_filled = is_predicted & ~is_visible
    content = np.array(tokens.content, predicted.dtype)
    content[is_filled] = predicted[is_filled]
    return _shown(dataclasses.replace(tokens, content=content), spec, is_visible | is_filled)


def _shown(tokens: Tokens, spec: TokenSpec, is_shown: NDArray[np.bool_]) -> Tokens:
    """Return the tokens with the others set to the modality's mean (continuous content) or removed (ids)."""
    if spec.width is not None:
        content = np.array(tokens.content, np.float32)
        content[~is_shown] = np.asarray(spec.mean, np.float32)
        return dataclasses.replace(tokens, content=content)
    fields = {name: values[is_shown] for name, values in tokens.fields.items() if spec.fields[name].arity == 1}
    return Tokens(np.asarray(tokens.content)[is_shown], np.asarray(tokens.positions)[is_shown], fields)
