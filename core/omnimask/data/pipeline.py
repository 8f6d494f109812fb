"""From places in the stream to a packed batch: read, decode, augment, tokenize, mask, corrupt, pack. Runs in loader workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnimask.data.collate import collate
from omnimask.data.fields import FieldNames, decoded, names_of, raw_value
from omnimask.data.loader import BadSample, LoadedBatch
from omnimask.data.planner import Place
from omnimask.errors import RunStopped
from omnimask.interfaces import (
    Augment,
    Dataset,
    Decoder,
    Draw,
    JointMasker,
    MaskedBatch,
    Masking,
    Sample,
    Splits,
    Tokenizer,
    Tokens,
    TokenSpec,
    View,
)
from omnimask.maskers.candidates import SPECIAL


@dataclass(frozen=True)
class ModalityPipeline:
    """How one modality's raw value becomes tokens. Of several fields the raw value is the mapping, the main one first."""

    field: FieldNames
    tokenizer: Tokenizer
    decoder: Decoder | None = None
    augment: tuple[Augment, ...] = ()

    def decoded(self, raw: Any) -> Any:
        """The raw value, with what is bytes in it decoded."""
        return decoded(raw, self.decoder)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        value = self.decoded(raw)
        for number, augment in enumerate(self.augment):
            value = augment(value, draw.at("augment", number))
        if self.augment and isinstance(self.tokenizer, Splits):
            value = _first_part(self.tokenizer, value)
        return self.tokenizer(value, draw.at("tokenizer"))


def _first_part(tokenizer: Splits, value: Any) -> Any:
    """What of a value that became too long by augmentation fits."""
    parts = tokenizer.split(value)
    return tokenizer.part(value, *parts[0][:2]) if len(parts) > 1 else value


@dataclass(frozen=True)
class ViewPlan:
    """How a sample becomes one view: what is withheld, and what is read instead."""

    masker: JointMasker
    corruptor: Callable[[Sample, Mapping[str, Masking]], View]

    def __call__(self, sample: Sample) -> View:
        masked = Sample(sample.tokens, sample.draw.at("masker"), sample.modalities, sample.labels)
        corrupted = Sample(sample.tokens, sample.draw.at("corruptor"), sample.modalities, sample.labels)
        masking = self.masker(masked)
        view = self.corruptor(corrupted, masking)
        return dataclasses.replace(view, hidden={name: _hidden(tokens, masking[name]) for name, tokens in sample.tokens.items()})


def _hidden(tokens: Tokens, masking: Masking) -> tuple[int, int]:
    """How many tokens are hidden, and how many could be."""
    special = tokens.fields.get(SPECIAL)
    candidates = len(tokens) - (0 if special is None else int(np.count_nonzero(special)))
    return len(tokens) - int(np.count_nonzero(masking.is_visible)), candidates


@dataclass(frozen=True)
class Pipeline:
    """Places -> one packed batch; a pure function of the places, picklable to workers.

    Args:
        dataset: where raw values come from.
        modalities: how each modality is read, in the recipe's order.
        views: the views of every sample, by name. Views share one drawing of their masker.
        specs: of the modalities, in the recipe's order.
        seed: the run's seed.
        stage: names the use (``train``, ``validation``), so that uses never share random numbers.
    """

    dataset: Dataset
    modalities: Mapping[str, ModalityPipeline]
    views: Mapping[str, ViewPlan]
    specs: Mapping[str, TokenSpec]
    seed: int
    stage: str = "train"

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        samples: list[Sample] = []
        bad: list[BadSample] = []
        for place in places:
            try:
                samples.append(self.sample(place))
            except (OSError, ValueError) as error:
                key = self.dataset.key(place.index)
                bad.append(BadSample(key, place.epoch, place.position, f"{type(error).__name__}: {error}"))
        return LoadedBatch(self.pack(samples) if samples else None, tuple(bad))

    def sample(self, place: Place) -> Sample:
        """Reads and tokenizes one sample.

        Raises:
            OSError, ValueError: it cannot be read, or holds no tokens.
        """
        draw = Draw(self.seed, place.epoch, self.dataset.key(place.index), place.position, place.progress, stage=(self.stage,))
        raw = self.dataset[place.index]
        values = {name: raw_value(raw, part.field) for name, part in self.modalities.items()}
        tokens = {name: self.modalities[name](value, draw.at(name)) for name, value in values.items() if value is not None}
        if not any(len(part) for part in tokens.values()):
            fields = [name for part in self.modalities.values() for name in names_of(part.field)]
            raise ValueError(f"it holds none of the fields {fields}; it has {sorted(raw)}")
        return Sample(tokens, draw, tuple(self.modalities))

    def pack(self, samples: Sequence[Sample]) -> MaskedBatch:
        """Masks, corrupts and packs samples.

        Raises:
            RunStopped: a masker or corruptor refused a sample.
        """
        views: list[dict[str, View]] = []
        for sample in samples:
            try:
                views.append({name: plan(sample) for name, plan in self.views.items()})
            except ValueError as error:
                raise RunStopped(f"sample {sample.draw.key!r} with {len(sample)} tokens cannot be masked: {error}") from error
        return collate(samples, views, self.specs)
