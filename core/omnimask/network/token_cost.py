"""Memory that a store token costs a training step, estimated from a packed batch without a forward pass."""

from __future__ import annotations

from collections import Counter
from typing import cast

from torch import nn

from omnimask.interfaces import MaskedBatch
from omnimask.network.model import MaskedModel
from omnimask.network.passes import Wired


def views_with_gradients(model: MaskedModel) -> tuple[str, ...]:
    """Return the names of the views whose activations live until the backward pass, once for every pass that reads them.

    Passes without gradients are left out: their activations are freed layer by layer.
    """
    found: list[str] = []
    for part in model.each():
        if part.grad:
            decoded = (used.query for used in part.uses.values() if used.query is not None)
            found += dict.fromkeys([part.view, *decoded])
    return tuple(found)


def slots_per_token(model: MaskedModel, batch: MaskedBatch) -> float:
    """Return the slots that networks compute with gradients per store token, as multiples of a slot of the backbone's encoder.

    A slot of another network counts by its :func:`kept_per_slot` relative to that encoder. An encoder computes the slots of its
    view's context. A predictor computes those of the stream that it reads, or the asked ones alone if it reads no others, once for
    every term with the same rows.

    Args:
        model: its passes name the views they read.
        batch: on the host, with these views.
    """
    backbone = kept_per_slot(model.passes[model.backbone].encoder)

    def size(network: object) -> float:
        return kept_per_slot(cast(nn.Module, network)) / backbone if backbone else 1.0

    slots = 0.0
    for part in model.each():
        if part.grad:
            slots += size(part.encoder) * batch.views[part.view].context.layout.num_slots
            slots += sum(size(wired.predictor) * _computed(wired) for wired in part.wired(batch))
    return slots / max(1, batch.num_tokens)


def kept_per_slot(network: nn.Module) -> int:
    """Return about how many numbers a network keeps per slot for the backward pass: inputs and outputs of its matrices.

    A linear layer keeps its input, and the nonlinearity behind it the output. Tables of vectors and ``heads`` don't count: heads
    compute targets only, and the losses of many outputs are computed in chunks.
    """
    if isinstance(network, nn.Embedding):
        return 0
    matrices = [parameter for parameter in network.parameters(recurse=False) if parameter.ndim > 1 and len(parameter)]
    own = sum(len(matrix) + matrix.numel() // len(matrix) for matrix in matrices)
    return own + sum(kept_per_slot(child) for name, child in network.named_children() if name != "heads")


def _computed(wired: Wired) -> int:
    """Return the slots that a predictor computes, counted again for every term that asks for the same rows."""
    predictor, view = wired.predictor, wired.view
    stream = view.query if getattr(predictor, "reads", "context") == "query" else view.context
    if stream is None:
        return 0
    asked = stream.asked if getattr(predictor, "reads_asked", False) else None
    layout = stream.layout if asked is None else asked.layout
    terms = Counter(id(table) for table in predictor.select(view).values())
    return layout.num_slots * max(terms.values(), default=1)
