"""From a stream to vectors: gathers from the store, one embedding call per modality. T slots, D width."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from omnimask.interfaces import Embedding, MaskedBatch, Stream


def embed(stream: Stream, batch: MaskedBatch, embeddings: Mapping[str, Embedding], width: int) -> Tensor:
    """(T, D): content where a slot shows content, special vectors where it shows an id, zeros where it shows nothing.

    Only the tokens that the stream shows are gathered, before they are converted or multiplied. Every modality's embedding is
    called even if it has no slot, so that all parameters take part in every step.
    """
    out: Tensor | None = None
    for name, reads in stream.reads.items():
        content = embeddings[name](batch.store[name].data[reads.index])
        if reads.slots is None:
            return content
        if out is None:
            out = content.new_zeros(stream.layout.num_slots, width, dtype=torch.float32)
        out = out.index_copy(0, reads.slots, content.to(out.dtype))
        if len(reads.literal_slots):
            out = out.index_copy(0, reads.literal_slots, embeddings[name].ids(reads.literals).to(out.dtype))
    if out is None:
        raise ValueError("the stream reads no modality")
    return out
