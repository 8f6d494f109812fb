"""One vector per sample: from the backbone's encoder over the clean view, and from the content alone. N samples, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.builder import Built, build_corruptor, build_model
from omnimask.corruptors.keep import Keep
from omnimask.data.pipeline import Pipeline, ViewPlan
from omnimask.data.planner import Place
from omnimask.embed import embed
from omnimask.errors import UserError
from omnimask.interfaces import Context, Dataset, Embedding, Encoded, Encoder, MaskedBatch, Packed, Sample
from omnimask.maskers.none import NoMasker
from omnimask.maskers.per_modality import PerModality
from omnimask.model import MaskedModel, Pass
from omnimask.packed import to_device
from omnimask.training.precision import Precision

Pool: TypeAlias = Literal["mean", "summary", "both"]
"""How token features become one vector: their ``mean``; the ``summary`` tokens side by side; ``both`` side by side."""

DEFAULT_POOL: Pool = "mean"
"""Every encoder has it, and masked training moves token features directly; a class token's only by way of attention."""


def backbone(model: MaskedModel) -> Pass:
    """The pass whose encoder is evaluated."""
    return cast(Pass, model.passes[model.backbone])


def initial_model(built: Built) -> MaskedModel:
    """The same architecture with the weights that training began with, drawn from the recipe's seed."""
    specs = {name: tokenizer.spec for name, tokenizer in built.tokenizers.items()}
    _, _, answers_in = build_corruptor(built.recipe, specs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(built.recipe.seed)
        return build_model(built.recipe, built.specs, answers_in)


def clean_pipeline(built: Built, dataset: Dataset) -> Pipeline:
    """Reads samples whole: no augmentation, nothing withheld, nothing replaced."""
    names = tuple(built.specs)
    masker = PerModality({name: NoMasker(Context(specs=built.specs, modalities=(name,))) for name in names})
    plan = ViewPlan(masker, Keep(Context(specs=built.specs, modalities=names)))
    view = backbone(built.model).view
    return dataclasses.replace(built.validation, dataset=dataset, views={view: plan}, stage="evaluation")


@dataclass(frozen=True)
class Chunk:
    """Samples that are computed together: their data set indices, what they hold, and both packed (on the host)."""

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]
    batch: MaskedBatch


def read_chunks(pipeline: Pipeline, indices: Sequence[int], budget: int, bad: dict[int, str]) -> Iterator[Chunk]:
    """The samples in order, as many at once as fit in ``budget`` tokens (at least one); unreadable ones go to ``bad``."""
    pending: list[tuple[int, Sample]] = []
    tokens = 0
    for index in indices:
        try:
            sample = pipeline.sample(Place(0, 0, int(index), 0.0))
        except (OSError, ValueError) as error:
            bad[int(index)] = f"{type(error).__name__}: {error}"
            continue
        if pending and tokens + len(sample) > budget:
            yield _packed(pipeline, pending)
            pending, tokens = [], 0
        pending.append((int(index), sample))
        tokens += len(sample)
    if pending:
        yield _packed(pipeline, pending)


def _packed(pipeline: Pipeline, pending: Sequence[tuple[int, Sample]]) -> Chunk:
    indices, samples = zip(*pending, strict=True)
    return Chunk(indices, samples, pipeline.pack(samples))


def check_pool(model: MaskedModel, pool: Pool) -> None:
    """Raises ``UserError`` where the encoder has no summary tokens and the pool asks for them."""
    if pool != "mean" and not cast(Encoder, backbone(model).encoder).num_summary:
        raise UserError(f"--pool {pool}: this encoder has no summary tokens; use --pool mean")


@torch.no_grad()
def encode(model: MaskedModel, batch: MaskedBatch, pool: Pool, precision: Precision) -> NDArray[np.float32]:
    """(B, D) features of a batch's samples; ``both`` has the mean first.

    Args:
        model: on ``precision.device``; runs in evaluation mode, and is left in the mode it was in.
        batch: on the host, with the clean view under the name that the backbone reads.
        pool: how token features become one vector.
        precision: of the forward pass, and the device.
    """
    part = backbone(model)
    encoder = cast(Encoder, part.encoder)
    moved = to_device(batch, precision.device)
    context = moved.views[part.view].context
    was_training = model.training
    model.eval()
    try:
        with precision.autocast():
            embedded = embed(context, moved, cast(Mapping[str, Embedding], part.embeddings), encoder.width)
            encoded = encoder(Packed(embedded, context.layout), context, moved)
    finally:
        model.train(was_training)
    parts = {"mean": [_mean], "summary": [_summary], "both": [_mean, _summary]}[pool]
    return torch.cat([take(encoded) for take in parts], dim=1).cpu().numpy()


def _mean(encoded: Encoded) -> Tensor:
    """(B, D) mean over the tokens of each sequence; a sample has one, as the clean view hides nothing."""
    layout = encoded.features.layout
    data = encoded.features.data.float()
    owner = torch.from_numpy(np.repeat(np.arange(layout.num_sequences), layout.lengths)).to(data.device)
    total = data.new_zeros(layout.num_sequences, data.shape[1]).index_add(0, owner, data)
    return total / torch.from_numpy(layout.lengths).to(data.device, torch.float32).clamp(min=1)[:, None]


def _summary(encoded: Encoded) -> Tensor:
    """(B, R * D) summary tokens side by side."""
    assert encoded.summary is not None
    return encoded.summary.float().flatten(1)


# ---- without a network -----------------------------------------------------------------------------------------------------------


class RawContent:
    """Gathers what a probe can see without any network, sample by sample.

    Continuous content is scaled as its specification says and laid end to end; where samples differ in length, it is the mean and
    the standard deviation over the tokens instead. Ids are counted: a bag of ids, as shares of the sample's tokens. Modalities
    stand side by side; an absent one is zeros.
    """

    def __init__(self, built: Built) -> None:
        self.specs = built.specs
        self._content: dict[str, list[NDArray[Any] | None]] = {name: [] for name in built.specs}

    def add(self, samples: Sequence[Sample]) -> None:
        """Appends samples."""
        for sample in samples:
            for name, found in self._content.items():
                tokens = sample.tokens.get(name)
                found.append(np.asarray(tokens.content) if tokens is not None and len(tokens) else None)

    def features(self) -> NDArray[np.float32]:
        """(N, D) of all samples appended."""
        parts = [self._ids(name) if spec.width is None else self._continuous(name) for name, spec in self.specs.items()]
        return np.concatenate(parts, axis=1)

    def _ids(self, name: str) -> NDArray[np.float32]:
        present = [content for content in self._content[name] if content is not None]
        used = np.unique(np.concatenate(present)) if present else np.zeros(0, np.int64)
        out = np.zeros((len(self._content[name]), len(used)), np.float32)
        for row, content in zip(out, self._content[name], strict=True):
            if content is not None:
                ids, counts = np.unique(content, return_counts=True)
                row[np.searchsorted(used, ids)] = counts / len(content)
        return out

    def _continuous(self, name: str) -> NDArray[np.float32]:
        spec = self.specs[name]
        mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
        found = self._content[name]
        is_uniform = len({len(content) for content in found if content is not None}) <= 1
        rows = [None if content is None else _row((content.astype(np.float32) - mean) / std, is_uniform) for content in found]
        width = next((len(row) for row in rows if row is not None), 0)
        return np.stack([np.zeros(width, np.float32) if row is None else row for row in rows])


def _row(content: NDArray[np.float32], is_uniform: bool) -> NDArray[np.float32]:
    """(D,) of one sample's content (L, *width)."""
    if is_uniform:
        return content.reshape(-1)
    flat = content.reshape(len(content), -1)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])
