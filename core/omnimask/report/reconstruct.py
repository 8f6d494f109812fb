"""What a model fills in, as raw values to look at. L tokens of a sample and modality, N targets, P store tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, MaskedBatch, Reconstruction, Run, Sample, Stream, Tokenizer, Tokens, TokenSpec
from omnimask.model import MaskedModel
from omnimask.packed import to_device
from omnimask.training.precision import Precision

Predicted: TypeAlias = tuple[NDArray[Any], NDArray[np.bool_]]
"""(P_m, ...) content in stored units or ids, and (P_m,) where there is any."""


@torch.no_grad()
def reconstruct(
    model: MaskedModel,
    samples: Sequence[Sample],
    batch: MaskedBatch,
    tokenizers: Mapping[str, Tokenizer],
    specs: Mapping[str, TokenSpec],
    precision: Precision,
) -> dict[str, list[Reconstruction]]:
    """Reconstructions of every sample, by modality; a modality without tokens in any sample has none.

    In ``filled`` visible tokens stay as they are, and hidden ones are what the first predictor that predicts content says. A hidden
    token that no predictor answers for looks like one in ``visible``: the modality's mean where content is continuous, left out
    where it is ids.

    Args:
        model: on ``precision.device``; evaluated with the weights it holds, and left in the mode it was in.
        samples: what ``batch`` was packed from, in its order.
        batch: on the host.
        tokenizers: by modality, to decode with.
        specs: by modality.
        precision: of the forward pass, and the device.
    """
    predicted, notes = _predicted(model, batch, precision)
    found = _each(samples, batch, tokenizers, specs, predicted)
    return {name: [dataclasses.replace(one, note="; ".join(notes[name])) for one in each] for name, each in found.items()}


def masked_only(
    samples: Sequence[Sample], batch: MaskedBatch, tokenizers: Mapping[str, Tokenizer], specs: Mapping[str, TokenSpec]
) -> dict[str, list[Reconstruction]]:
    """Like :func:`reconstruct` without a model: ``filled`` is None."""
    return _each(samples, batch, tokenizers, specs, None)


def _each(
    samples: Sequence[Sample],
    batch: MaskedBatch,
    tokenizers: Mapping[str, Tokenizer],
    specs: Mapping[str, TokenSpec],
    predicted: Mapping[str, Predicted] | None,
) -> dict[str, list[Reconstruction]]:
    found: dict[str, list[Reconstruction]] = {name: [] for name in tokenizers}
    for name, tokenizer in tokenizers.items():
        is_visible = visible_in_store(batch, name)
        offsets = batch.store[name].layout.offsets
        for number, sample in enumerate(samples):
            if name in sample.tokens and len(sample.tokens[name]):
                part = slice(int(offsets[number]), int(offsets[number + 1]))
                tokens, spec = sample.tokens[name], specs[name]
                visible = tokenizer.decode(_shown(tokens, spec, is_visible[part]))
                filled = None
                if predicted is not None:
                    content, is_known = predicted[name]
                    filled = tokenizer.decode(_filled(tokens, spec, is_visible[part], content[part], is_known[part]))
                found[name].append(Reconstruction(sample.draw.key, tokenizer.decode(tokens), visible, filled))
    return found


def visible_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.bool_]:
    """(P_m,) whether a network reads this token's own content, in any view's context; ``batch`` on the host."""
    base, count = batch.base[modality], batch.store[modality].layout.num_slots
    is_visible = np.zeros(count, bool)
    for view in batch.views.values():
        of = _sources(view.context) - base
        is_visible[of[(of >= 0) & (of < count)]] = True
    return is_visible


def _sources(stream: Stream) -> NDArray[np.int64]:
    source, literal = np.asarray(stream.source), np.asarray(stream.literal)
    return source[(source >= 0) & (literal == CONTENT)]


def _predicted(
    model: MaskedModel, batch: MaskedBatch, precision: Precision
) -> tuple[dict[str, Predicted], dict[str, dict[str, None]]]:
    """By modality: (P_m, ...) predicted content in stored units, or ids, and (P_m,) where there is any; and what the targets say
    of it."""
    moved = to_device(batch, precision.device)
    was_training = model.training
    model.eval()
    try:
        with precision.autocast():
            results = model.predict(moved)
            run = Run(moved, results)
            found: dict[str, Predicted] = {}
            notes: dict[str, dict[str, None]] = {name: {} for name in batch.store}
            for name, packed in batch.store.items():
                content = np.zeros(packed.data.shape, np.int64 if packed.data.ndim == 1 else np.float32)
                found[name] = content, np.zeros(len(content), bool)
            for part in model.each():
                for predictor, _ in part.each():
                    for term in predictor.select(moved.views[part.view]):
                        prediction = results[part.name].predictions[term]
                        target = predictor.target(prediction.modality)
                        values = target.content(prediction, run)
                        if values is not None:
                            notes[prediction.modality] |= dict.fromkeys(filter(None, [getattr(target, "content_note", "")]))
                            of = prediction.targets.of - moved.base[prediction.modality]
                            _put(found[prediction.modality], of.cpu().numpy(), values.cpu().numpy())
    finally:
        model.train(was_training)
    return found, notes


def _put(found: Predicted, of: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Writes answers for store tokens that no earlier predictor answered for."""
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
    """The tokens with the others at the modality's mean (continuous content) or without them (ids)."""
    if spec.width is not None:
        content = np.array(tokens.content, np.float32)
        content[~is_shown] = np.asarray(spec.mean, np.float32)
        return dataclasses.replace(tokens, content=content)
    fields = {name: values[is_shown] for name, values in tokens.fields.items() if spec.fields[name].arity == 1}
    return Tokens(np.asarray(tokens.content)[is_shown], np.asarray(tokens.positions)[is_shown], fields)
