"""Embedding of a stream: gathers from the store, one embedding call per modality. T slots, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from omnimask.interfaces import CONTENT, Context, Embedding, MaskedBatch, Stream


def embed(stream: Stream, batch: MaskedBatch, embeddings: Mapping[str, Embedding], width: int) -> Tensor:
    """Embed a stream (T, D): content embeddings, special vectors for shown ids, zeros for slots that show nothing.

    Only shown tokens are gathered, before conversion or multiplication. Every modality's embedding is called even without slots, so
    that all parameters take part in every step.
    """
    out: Tensor | None = None
    for name, reads in stream.reads.items():
        if _is_absent(name, stream, embeddings):
            continue
        content = embeddings[name](batch.store[name].data[reads.index])
        # All slots show content of this modality in order, so there is nothing to scatter.
        if reads.slots is None:
            return content
        if out is None:
            out = content.new_zeros(stream.layout.num_slots, width, dtype=torch.float32)
        out = out.index_copy(0, reads.slots, content.to(out.dtype))
        if len(reads.literal_slots):
            out = out.index_copy(0, reads.literal_slots, embeddings[name].ids(reads.literals).to(out.dtype))
    if out is None:
        raise ValueError("the stream has no modality")
    return out


def embed_features(stream: Stream, batch: MaskedBatch, embeddings: Mapping[str, Embedding], features: Tensor) -> Tensor:
    """Return (T, D): features (P, D) of their tokens at slots with content, special vectors for shown ids, zeros elsewhere."""
    out = features.new_zeros(stream.layout.num_slots, features.shape[1])
    for name, reads in stream.reads.items():
        if _is_absent(name, stream, embeddings):
            continue
        content = features[reads.index + batch.base[name]]
        # All parameters take part in every step, and embeddings of no token have a gradient of zero.
        content = content + embeddings[name](batch.store[name].data[:0]).to(content.dtype).sum(0)
        if reads.slots is None:
            return content
        out = out.index_copy(0, reads.slots, content)
        if len(reads.literal_slots):
            out = out.index_copy(0, reads.literal_slots, embeddings[name].ids(reads.literals).to(out.dtype))
    return out


def _is_absent(name: str, stream: Stream, embeddings: Mapping[str, Embedding]) -> bool:
    """Return whether a network has no embedding of a modality. Raise ``ValueError`` if the stream shows one of its tokens."""
    if name in embeddings:
        return False
    reads = stream.reads[name]
    if len(reads.index) or len(reads.literals):
        raise ValueError(f"the network embeds {', '.join(embeddings)}, but its view contains tokens of {name}; set of: at its pass")
    return True


def field_at(stream: Stream, batch: MaskedBatch, name: str, absent: int = 0) -> Tensor:
    """Return (T,) values of a token field at the slots of a stream, as shown by its view.

    ``absent`` for slots without a token, and for modalities without this field.
    """
    parts = [
        _field(stream, batch, modality, name)
        if name in batch.fields[modality]
        else stream.source.new_full((packed.layout.num_slots,), absent)
        for modality, packed in batch.store.items()
    ]
    # (P,) in store coordinates: one modality after another.
    values = torch.cat(parts) if len(parts) > 1 else parts[0]
    if not len(values):
        return torch.full_like(stream.source, absent)
    return torch.where(stream.source >= 0, values[stream.source.clamp(min=0)], absent)


def _field(stream: Stream, batch: MaskedBatch, modality: str, name: str) -> Tensor:
    """Return (P_m,) values of one modality: the view's own if present, else the store's."""
    return stream.fields.get(modality, {}).get(name, batch.fields[modality][name])


class TypeEmbedding(nn.Module):
    """A learned vector for every value of a token field, added to the embeddings; N(0, 0.02).

    Args:
        context: of the encoder.
        count: number of vectors.
        width: D.
        name: of the integer field.
    """

    def __init__(self, context: Context, count: int, width: int, name: str) -> None:
        super().__init__()
        specs = [context.specs[modality] for modality in context.modalities]
        if not any(name in spec.fields for spec in specs):
            known = sorted({field for spec in specs for field in spec.fields})
            raise ValueError(f"types: {count} need the field {name!r}, but the tokens have {known}; set types: 0 or type_field")
        self.name = name
        self.weight = nn.Parameter(torch.randn(count, width) * 0.02)
        self.no_weight_decay = {"weight"}

    def forward(self, stream: Stream, batch: MaskedBatch) -> Tensor:
        """Return (T, D). Raise ``ValueError`` on CPU for a value without a vector."""
        value = field_at(stream, batch, self.name)
        # Reading the maximum would synchronize other devices.
        if value.device.type == "cpu" and len(value) and int(value.max()) >= len(self.weight):
            raise ValueError(
                f"field {self.name!r} reaches {int(value.max())}, but must be less than types: {len(self.weight)}; raise types"
            )
        return nn.functional.embedding(value.clamp(min=0), self.weight)


ModalitySlots: TypeAlias = Literal["hidden", "all", "none"]
"""Slots that receive a modality vector: those that show no content, all, or none."""


class ModalityEmbedding(nn.Module):
    """A learned vector for every modality of the recipe, added to a stream's slots; N(0, 0.02).

    Content identifies its modality, because every modality has its own embedding. Without these vectors, slots without content are
    equal in all modalities if their positions are equal.

    Args:
        count: number of modalities.
        width: D.
        slots: which slots receive the vector.
    """

    def __init__(self, count: int, width: int, slots: ModalitySlots) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, width) * 0.02)
        self.no_weight_decay = {"weight"}
        self.tells_all = slots == "all"

    def forward(self, stream: Stream) -> Tensor:
        """Return (T, D), zeros for slots that receive no vector."""
        found = self.of(stream)
        return found if self.tells_all else found * (stream.literal != CONTENT)[:, None]

    def of(self, stream: Stream) -> Tensor:
        """Return the vectors of all slots, (T, D)."""
        return nn.functional.embedding(stream.modality, self.weight)


def tells_modalities(context: Context, slots: ModalitySlots) -> bool:
    """Return whether slots receive modality vectors: if there are several modalities and the recipe does not disable it."""
    return len(context.specs) > 1 and slots != "none"


def make_modality_embedding(context: Context, width: int, slots: ModalitySlots) -> ModalityEmbedding | None:
    """Return the vectors of all modalities, or None if they are not used; see :func:`tells_modalities`."""
    return ModalityEmbedding(len(context.specs), width, slots) if tells_modalities(context, slots) else None


def with_modality(x_TD: Tensor, stream: Stream, modalities: ModalityEmbedding | None) -> Tensor:
    """Return (T, D) with the modality vectors added, if there are any."""
    return x_TD if modalities is None else x_TD + modalities(stream).to(x_TD.dtype)
