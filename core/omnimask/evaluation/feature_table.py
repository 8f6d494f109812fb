"""Features of labelled samples, by the trained and the untrained encoder and from the content alone. N samples, D width."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omnimask.builder.build import Built
from omnimask.data.chunks import read_chunks
from omnimask.data.label_tables import Row
from omnimask.data.validation_split import whole_key
from omnimask.errors import UserError
from omnimask.evaluation.features import Pool, clean_pipeline, encode, initial_model
from omnimask.evaluation.labelled_samples import Label, LabelRecorder, Sides, as_label
from omnimask.evaluation.mean_of_parts import Wholes, num_tokens
from omnimask.evaluation.raw_input import RawContent
from omnimask.training.devices.precision import Precision

logger = logging.getLogger(__name__)

PRETRAINED, RANDOM, RAW = "pretrained", "random init", "raw input"


@dataclass(frozen=True)
class FeatureTable:
    """Features (N, D) by name, with the ``keys`` and ``labels`` of the N samples, and whether each is scored (N,).

    ``bad`` are the reasons by key for unreadable samples.
    """

    features: Mapping[str, Any]
    keys: tuple[str, ...]
    labels: tuple[Label, ...]
    is_test: NDArray[np.bool_]
    bad: Mapping[str, str]


def compute_features(
    built: Built, sides: Sides, table: Mapping[str, Row] | None, pool: Pool, device: torch.device, modality: str | None = None
) -> FeatureTable:
    """Compute features of every labelled sample of both sides, in the data set's order, of one modality or of all.

    Unlabelled and unreadable samples are left out. Parts are merged into one sample: its features are the mean over its parts,
    weighted by their numbers of tokens, which equals a mean over all tokens.
    """
    recorder = LabelRecorder(built.dataset)
    precision = Precision(built.recipe.train.precision, device)
    models = {PRETRAINED: built.model.to(device), RANDOM: initial_model(built).to(device)}
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in models}
    raw = RawContent(built.specs if modality is None else {modality: built.specs[modality]})
    bad, indices, sizes = dict[int, str](), list[int](), list[int]()
    wanted = sorted({*sides.train, *sides.test})
    logger.info("computing features of %d samples", len(wanted))
    for chunk in read_chunks(clean_pipeline(built, recorder), wanted, built.inference_tokens(device.type), bad):
        for name, model in models.items():
            parts[name].append(encode(model, chunk.batch, pool, precision, modality))
        raw.add(chunk.samples, [whole_key(built.dataset, index) for index in chunk.indices])
        indices += chunk.indices
        sizes += map(num_tokens, chunk.samples)
    if not indices:
        raise UserError(f"data: none of the {len(wanted)} samples is readable: {next(iter(bad.values()))}")
    wholes = Wholes.of([whole_key(built.dataset, index) for index in indices], sizes)
    is_test = np.isin(np.array(indices)[wholes.first], np.array(sides.test))
    features = {name: wholes.mean(np.concatenate(found)) for name, found in parts.items()}
    labels = [
        as_label(recorder.labels[indices[first]], key) if table is None else table[key].label
        for first, key in zip(wholes.first.tolist(), wholes.keys, strict=True)
    ]
    rows = np.array([row for row, label in enumerate(labels) if label is not None], np.int64)
    return FeatureTable(
        {name: found[rows] for name, found in {**features, RAW: raw.features(~is_test)}.items()},
        tuple(wholes.keys[row] for row in rows.tolist()),
        tuple(label for label in labels if label is not None),
        is_test[rows],
        {built.dataset.key(index): reason for index, reason in bad.items()},
    )
