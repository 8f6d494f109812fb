"""Comparison of an exported model and tokenizer with the recipe's. n tokens of a text, V ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Draw, Exported, MaskedBatch, Packed, Sample, Tokenizer, Tokens, TokenSpec, Trained, View
from omnimask.modules import collate, embed
from omnimask.pretrained import compared
from omnimask.streams import sequence, targets
from omnimask_text.weights.hf_configs import EncoderParts, MaskedLMParts

_EVERY, _LONGEST = 7, 512
"""Settings of the comparison: one token out of this many is masked, and maximum tokens of a text."""


def check_tokenizer(mine: Tokenizer, theirs: Any, trained: Trained, parts: EncoderParts) -> None:
    """Compare the ids of the batch's texts, each cut in half so that none is too long.

    Raises:
        ValueError: they differ.
    """
    for tokens in texts(trained.batch, parts.modality):
        decoded = mine.decode(_first(tokens, (len(tokens) + 1) // 2))
        whole = [text for text in ([decoded] if isinstance(decoded, str) else decoded) if text.strip()]
        for each in [*([text] for text in whole), *([whole] if len(whole) == 2 else [])]:
            expected = np.asarray(mine(each, Draw(0, 0, "")).content).tolist()
            found = theirs(*each)["input_ids"]
            if expected != found:
                raise ValueError(f"the written tokenizer differs: {each[0][:60]!r} becomes {expected[:8]}, and there {found[:8]}")


def compare(trained: Trained, parts: MaskedLMParts, peer: Any, *, reads_types: bool) -> Exported:
    """Compare logits of all tokens of texts of different lengths, some masked; the peer reads the texts padded."""
    shown = _shown(trained, parts)
    with torch.inference_mode():
        expected = _logits(trained, parts, shown)
        logits: Tensor = peer(**_padded(shown, peer.config.type_vocab_size if reads_types else 0)).logits
    return _difference(expected, logits, shown, "logits")


def compare_features(trained: Trained, parts: EncoderParts, peer: Any) -> Exported:
    """Compare features of the encoder's last layer, like :func:`compare`."""
    shown = _shown(trained, parts)
    with torch.inference_mode():
        expected = _features(trained, parts, shown)
        features: Tensor = peer(**_padded(shown, peer.config.type_vocab_size)).last_hidden_state
    return _difference(expected, features, shown, "features")


def _shown(trained: Trained, parts: EncoderParts) -> list[Tokens]:
    """Return texts of different lengths, with mask tokens if there are any."""
    found = list(texts(trained.batch, parts.modality))
    cut = [_first(tokens, -(-min(len(tokens), _LONGEST) * (number + 1) // len(found))) for number, tokens in enumerate(found)]
    return [_masked(tokens, trained.specs[parts.modality]) for tokens in cut]


def _difference(expected: Tensor, found: Tensor, shown: list[Tokens], what: str) -> Exported:
    """Compare ``expected`` (sum of n, V) with ``found`` (texts, longest n, V or more)."""
    again = torch.cat([row[: len(tokens)] for row, tokens in zip(found, shown, strict=True)])[:, : expected.shape[1]]
    outputs = f"the {expected.numel():,} {what} of {len(shown)} texts with {len(expected):,} tokens"
    return compared(outputs, expected, again)


def texts(batch: MaskedBatch, modality: str) -> Iterator[Tokens]:
    """Yield the tokens of each sample of a batch, on the host."""
    store = batch.store[modality]
    for start, stop in pairwise(store.layout.offsets.tolist()):
        if stop > start:
            fields = {name: np.asarray(field[start:stop]) for name, field in batch.fields[modality].items()}
            places = np.arange(stop - start, dtype=np.float32)[:, None]
            yield Tokens(np.asarray(store.data[start:stop]), places, fields)


def _first(tokens: Tokens, count: int) -> Tokens:
    fields = {name: field[:count] for name, field in tokens.fields.items()}
    return Tokens(tokens.content[:count], tokens.positions[:count], fields)


def _masked(tokens: Tokens, spec: TokenSpec) -> Tokens:
    if "mask" not in (*spec.special_ids, *spec.specials):
        return tokens
    shown = np.array(tokens.content)
    shown[_EVERY // 2 :: _EVERY] = spec.id("mask")
    return dataclasses.replace(tokens, content=shown)


def _logits(trained: Trained, parts: EncoderParts, shown: list[Tokens]) -> Tensor:
    """Return (sum of n, V) logits of the recipe's model for every token."""
    part = trained.model.passes[trained.model.backbone]
    (prediction,) = part(_batch(trained, parts, shown), {}).predictions.values()
    return prediction.head(prediction.features)


def _features(trained: Trained, parts: EncoderParts, shown: list[Tokens]) -> Tensor:
    """Return (sum of n, D) features of the recipe's encoder, without running a predictor."""
    part = trained.model.passes[trained.model.backbone]
    batch = _batch(trained, parts, shown)
    stream = batch.views[part.view].context
    embedded = embed(stream, batch, {parts.modality: parts.embedding}, parts.encoder.width)
    return parts.encoder(Packed(embedded, stream.layout), stream, batch).features.data


def _batch(trained: Trained, parts: EncoderParts, shown: list[Tokens]) -> MaskedBatch:
    """Return a batch of the texts in place, with every token as a target."""
    part = trained.model.passes[trained.model.backbone]
    samples = [Sample({parts.modality: tokens}, Draw(0, 0, str(number)), (parts.modality,)) for number, tokens in enumerate(shown)]
    every = [np.arange(len(tokens)) for tokens in shown]
    views = [
        {part.view: View(sequence(sample, places, targets=targets(places, places)))}
        for sample, places in zip(samples, every, strict=True)
    ]
    return collate(samples, views, {parts.modality: trained.specs[parts.modality]})


def _padded(shown: list[Tokens], num_types: int) -> dict[str, Tensor]:
    """Return inputs for `transformers`' models. Models without types get zeros for types of any number."""
    columns = {
        "input_ids": [torch.as_tensor(tokens.content) for tokens in shown],
        "attention_mask": [torch.ones(len(tokens), dtype=torch.long) for tokens in shown],
    }
    if num_types:
        columns["token_type_ids"] = [torch.as_tensor(tokens.fields["document"]).clamp(max=num_types - 1) for tokens in shown]
    return {name: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) for name, rows in columns.items()}
