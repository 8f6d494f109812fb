"""Features of samples from the backbone's encoder over the clean view, one vector each. N samples, T slots, D width."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.builder.build import Built, BuiltModel
from omnimask.builder.model import build_model
from omnimask.builder.views import build_corruptors
from omnimask.components.corruptors.keep import Keep
from omnimask.components.maskers.none import NoMasker
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.data.pipeline import Pipeline
from omnimask.data.view_plan import ViewPlan
from omnimask.errors import UserError
from omnimask.interfaces import SPECIAL, Context, Dataset, Encoded, Encoder, MaskedBatch, Stream
from omnimask.network.inference import inference
from omnimask.network.model import MaskedModel
from omnimask.network.passes import Pass
from omnimask.network.pooling import pooled
from omnimask.packed import to_device
from omnimask.training.devices.precision import Precision

Pool: TypeAlias = Literal["mean", "summary", "both", "first"]
"""Pooling of token features: ``mean`` without special tokens, ``summary``, ``both``, or ``first``.

``summary`` concatenates the encoder's summary vectors; ``both`` concatenates mean and summary. ``first`` is the first token, which
a tokenizer may provide for this ([CLS]).
"""

DEFAULT_POOL: Pool = "mean"
"""Supported by every encoder. Masked training affects token features directly, but a class token only through attention."""


def backbone(model: MaskedModel) -> Pass:
    """Return the pass with the evaluated encoder."""
    return model.passes[model.backbone]


def initial_model(built: Built) -> MaskedModel:
    """Return the same architecture with its initial weights, from the recipe's seed."""
    specs = {name: tokenizer.spec for name, tokenizer in built.tokenizers.items()}
    _, _, answers_in = build_corruptors(built.recipe, specs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(built.recipe.seed % 2**64)
        return build_model(built.recipe, built.specs, answers_in)


def clean_pipeline(built: Built | BuiltModel, dataset: Dataset) -> Pipeline:
    """Return a pipeline that reads samples whole: no augmentation, nothing withheld, nothing replaced."""
    names = tuple(built.specs)
    masker = PerModalityMasker({name: NoMasker(Context(specs=built.specs, modalities=(name,))) for name in names})
    plan = ViewPlan(masker, Keep(Context(specs=built.specs, modalities=names)))
    views = {part.view: plan for part in built.model.needed(built.model.backbone)}
    if isinstance(built, BuiltModel):
        return dataclasses.replace(built.pipeline(dataset), views=views)
    return dataclasses.replace(built.validation, dataset=dataset, views=views, stage="evaluation")


def check_pool(model: MaskedModel, pool: Pool) -> None:
    """Raise ``UserError`` if the pool needs summary tokens and the encoder has none."""
    if pool in ("summary", "both") and not cast(Encoder, backbone(model).encoder).num_summary:
        raise UserError(f"--pool {pool}: this encoder has no summary tokens; use --pool mean")


@torch.no_grad()
def encode(
    model: MaskedModel, batch: MaskedBatch, pool: Pool, precision: Precision, modality: str | None = None
) -> NDArray[np.float32]:
    """Return features (B, D) of a batch's samples; ``both`` has the mean first.

    Args:
        model: on ``precision.device``; runs in evaluation mode, and its mode is restored.
        batch: on the host, with the clean view under the name of the backbone's view.
        pool: pooling of token features to one vector.
        precision: of the forward pass, and the device.
        modality: of the tokens whose features are averaged; None for all.
    """
    part = backbone(model)
    moved = to_device(batch, precision.device)
    with inference(model, precision):
        encoded = model.encode(moved)
    if pool == "first":
        return pooled(encoded, "first").float().cpu().numpy()
    parts: list[Tensor] = []
    if pool != "summary":
        parts.append(_mean(encoded, is_content(batch, batch.views[part.view].context, modality)))
    if pool != "mean":
        parts.append(_summary(encoded))
    return torch.cat(parts, dim=1).cpu().numpy()


def is_content(batch: MaskedBatch, stream: Stream, modality: str | None = None) -> NDArray[np.bool_]:
    """Return (T,) whether a slot is a non-special token, of one modality or of all; ``batch`` is on the host."""
    source = np.asarray(stream.source)
    found = np.ones(len(source), bool)
    for name, fields in batch.fields.items():
        of = source - batch.base[name]
        is_here = (of >= 0) & (of < batch.store[name].layout.num_slots)
        if modality is not None and name != modality:
            found[is_here] = False
        elif SPECIAL in fields:
            found[is_here] = ~np.asarray(fields[SPECIAL])[of[is_here]]
    return found


def _mean(encoded: Encoded, counts: NDArray[np.bool_]) -> Tensor:
    """Return the mean (B, D) over the counted slots of each sequence, zeros if there are none.

    A sample has one sequence, as the clean view hides nothing.
    """
    layout = encoded.features.layout
    data = encoded.features.data.float()
    slots, owner = np.flatnonzero(counts), np.repeat(np.arange(layout.num_sequences), layout.lengths)[counts]
    number = np.bincount(owner, minlength=layout.num_sequences)
    chosen = data if len(slots) == len(data) else data[torch.from_numpy(slots).to(data.device)]
    # segment sum over sequences
    total = data.new_zeros(layout.num_sequences, data.shape[1]).index_add(0, torch.from_numpy(owner).to(data.device), chosen)
    return total / torch.from_numpy(number).to(data.device, torch.float32).clamp(min=1)[:, None]


def _summary(encoded: Encoded) -> Tensor:
    """Return the concatenated summary tokens (B, R * D)."""
    assert encoded.summary is not None
    return encoded.summary.float().flatten(1)
