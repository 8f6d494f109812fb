"""A trained encoder as a function: vectors of samples in memory, or of a data set. N samples, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.builder.build import BuiltModel, build_without_data
from omnimask.builder.micro_batches import slot_budget
from omnimask.builder.reading import reading_options
from omnimask.data.chunks import read_chunks
from omnimask.data.fields import names_of
from omnimask.data.part_index import list_parts, scan_parts
from omnimask.data.sample_parts import SampleParts
from omnimask.data.validation_split import whole_key
from omnimask.errors import UserError
from omnimask.evaluation.features import Pool, check_pool, clean_pipeline, encode
from omnimask.evaluation.mean_of_parts import Wholes, num_tokens
from omnimask.export.weights import load_exported
from omnimask.interfaces import Context, Dataset, Splits
from omnimask.messages.printable import printable
from omnimask.recipe import Recipe, load_recipe
from omnimask.recipe.config import Device
from omnimask.run.device import choose_device
from omnimask.run.trained_run import load_checkpoint, open_trained
from omnimask.training.checkpoints.contents import MODEL
from omnimask.training.devices.precision import Precision


@dataclass(frozen=True)
class Vectors:
    """Vectors of a data set: ``keys`` and ``vectors`` (N, D) in its order, and ``left_out`` with reasons for unreadable keys."""

    keys: tuple[str, ...]
    vectors: NDArray[np.float32]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])


class FrozenEncoder:
    """Encoder of a trained model over whole samples. Nothing is masked, augmented or trained.

    Args:
        built: the model with its weights, and the reader of its samples.
        device: device of the computation.

    Attributes:
        recipe: recipe of the model.
    """

    def __init__(self, built: BuiltModel, device: Device = "auto") -> None:
        self.recipe: Recipe = built.recipe
        self._precision = Precision(built.recipe.train.precision, choose_device(device))
        self._model = built.model.to(self._precision.device).eval()
        self._built = built

    def encode(self, samples: Sequence[Any], *, pool: Pool = "mean", modality: str | None = None) -> NDArray[np.float32]:
        """Return (N, D) a vector for each sample, in order. A text of several parts has their mean, weighted by tokens.

        Args:
            samples: mappings by the data set's fields (``{"text": "a sentence"}``). If the recipe has one modality, also its plain
                values: texts, arrays, the bytes of a file, or a file's path (``pathlib.Path``).
            pool: ``mean`` of the tokens' features without special tokens, the encoder's ``summary`` vectors, ``both`` side by side,
                or the features of the ``first`` token.
            modality: modality whose tokens' features are averaged; None: all.

        Raises:
            UserError: a sample (named by its place) cannot be read, or the encoder does not provide such vectors.
        """
        found = self._encode(self._in_parts(_InMemory(samples, self._fields()), is_kept=False), pool, modality)
        for key, reason in found.left_out.items():
            raise UserError(f"{key}: {reason}")
        if len(found.keys) < len(samples):
            missing = next(key for index in range(len(samples)) if (key := _in_place(index)) not in set(found.keys))
            raise UserError(f"{missing}: empty sample")
        return found.vectors

    def encode_dataset(
        self, changes: Sequence[str] = (), *, limit: int | None = None, pool: Pool = "mean", modality: str | None = None
    ) -> Vectors:
        """Return the vectors of the samples in the recipe's data set, or in another one.

        Args:
            changes: changes to the recipe's data (``["data.path=other"]``, ``["data={name: csv, path: rows.csv}"]``).
            limit: number of samples to encode, from the first on; None: all.
            pool, modality: as in :meth:`encode`.

        Raises:
            UserError: the data are missing, or none can be read.
        """
        recipe = load_recipe(self.recipe.path, changes) if changes and self.recipe.path is not None else self.recipe
        dataset: Dataset = recipe.data.dataset(Context(specs=self._built.specs, modalities=tuple(self._built.specs)))
        parts = self._in_parts(dataset if limit is None else _First(dataset, limit), is_kept=limit is None)
        found = self._encode(parts, pool, modality)
        if not found.keys:
            raise UserError(f"data: no readable sample: {next(iter(found.left_out.values()), 'there are no samples')}")
        return found

    def _fields(self) -> tuple[str, ...]:
        """Return the fields of the recipe's only modality, or none if there are several."""
        (only, *others) = self.recipe.modalities.values()
        return () if others else names_of(only.field)

    def _in_parts(self, dataset: Dataset, *, is_kept: bool) -> Dataset:
        """Return the data set, or its parts as in training. ``is_kept``: the list of parts may come from the cache."""
        (reader, *others) = self._built.parts.values()
        if others or not isinstance(reader.tokenizer, Splits):
            return dataset
        if not is_kept:
            return SampleParts(dataset, reader, scan_parts(dataset, reader))
        return SampleParts(dataset, reader, list_parts(dataset, reader, options=reading_options(self.recipe, self._built.parts)))

    def _encode(self, dataset: Dataset, pool: Pool, modality: str | None) -> Vectors:
        check_pool(self._model, pool)
        if modality is not None and modality not in self._built.specs:
            raise UserError(f"the model has no modality {modality!r}; its modalities: {', '.join(self._built.specs)}")
        bad: dict[int, str] = {}
        keys: list[str] = []
        sizes: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        budget = slot_budget(self._precision.device.type)
        for chunk in read_chunks(clean_pipeline(self._built, dataset), range(len(dataset)), budget, bad):
            keys += [whole_key(dataset, index) for index in chunk.indices]
            sizes += map(num_tokens, chunk.samples)
            vectors.append(encode(self._model, chunk.batch, pool, self._precision, modality))
        left_out = {printable(whole_key(dataset, index)): printable(reason) for index, reason in bad.items()}
        if not vectors:
            return Vectors((), np.zeros((0, 0), np.float32), left_out)
        wholes = Wholes.of(keys, sizes)
        return Vectors(wholes.keys, wholes.mean(np.concatenate(vectors)), left_out)


def _in_place(index: int) -> str:
    return f"samples[{index}]"


@dataclass(frozen=True)
class _First:
    """First ``limit`` samples of a data set."""

    dataset: Dataset
    limit: int

    def __len__(self) -> int:
        return min(self.limit, len(self.dataset))

    def key(self, index: int) -> str:
        return self.dataset.key(index)

    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint()}:{self.limit}"

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.dataset[index]


class _InMemory:
    """Samples in memory. ``fields`` are those of the only modality, whose values may be given without a mapping."""

    def __init__(self, samples: Sequence[Any], fields: Sequence[str]) -> None:
        self.samples, self.fields = samples, fields

    def __len__(self) -> int:
        return len(self.samples)

    def key(self, index: int) -> str:
        return _in_place(index)

    def fingerprint(self) -> str:
        return ""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        sample = self.samples[index]
        if isinstance(sample, Mapping):
            return {name: _read(value) for name, value in sample.items()}
        if not self.fields:
            raise ValueError("the recipe has several modalities: give a mapping of fields")
        first, *others = self.fields
        return {first: _read(sample), **dict.fromkeys(others)}


def _read(value: Any) -> Any:
    return value.read_bytes() if isinstance(value, Path) else value


def load_encoder(path: str | Path, *, checkpoint: str = "best", device: Device = "auto", runs_files: bool = False) -> FrozenEncoder:
    """Load the encoder of a run, or of a folder written by ``omnimask export --to safetensors``. No data set is needed.

    Args:
        path: the run's folder, or the exported one.
        checkpoint: checkpoint of a run: ``best``, ``last``, or a name (``step-00001000``). Its averaged weights are used if it has
            any.
        device: device of the computation.
        runs_files: whether to run Python files listed by an exported recipe under ``plugins``.

    Raises:
        UserError: the folder is neither, its recipe is unusable, or the checkpoint is missing or damaged.
    """
    path = Path(path)
    if (path / MODEL).is_file():
        return FrozenEncoder(load_exported(path, runs_files=runs_files), device)
    recipe, chosen = open_trained(path, checkpoint)
    built = build_without_data(recipe)
    load_checkpoint(built.model, chosen)
    return FrozenEncoder(built, device)
