"""A trained encoder as a function: vectors of samples in memory, or of a data set. N samples, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.builder.build import AUTO_MICRO_BATCH, BuiltModel, build_without_data, reading_options
from omnimask.data.chunks import read_chunks
from omnimask.data.fields import names_of
from omnimask.data.sample_parts import Parts, list_parts, scan_parts
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
    """Of samples of a data set: ``keys`` and ``vectors`` (N, D) in its order, and reasons by key of those that cannot be read."""

    keys: tuple[str, ...]
    vectors: NDArray[np.float32]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])


class FrozenEncoder:
    """The encoder of a trained model over whole samples: nothing is masked, augmented or learned.

    Args:
        built: the model with its weights, and how its samples are read.
        device: where it computes.

    Attributes:
        recipe: of the model.
    """

    def __init__(self, built: BuiltModel, device: Device = "auto") -> None:
        self.recipe: Recipe = built.recipe
        self._precision = Precision(built.recipe.train.precision, choose_device(device))
        self._model = built.model.to(self._precision.device).eval()
        self._built = built

    def encode(self, samples: Sequence[Any], *, pool: Pool = "mean", modality: str | None = None) -> NDArray[np.float32]:
        """(N, D) a vector for each sample, in their order. That of a text of several parts is their mean, weighted by their tokens.

        Args:
            samples: mappings by the data set's fields (``{"text": "a sentence"}``); where the recipe has one modality, also its
                values alone: texts, arrays, the bytes of a file, or a file's path (``pathlib.Path``).
            pool: ``mean`` of the tokens' features without special tokens, the encoder's ``summary`` vectors, ``both`` side by side,
                or the features of the ``first`` token.
            modality: whose tokens' features are averaged; None: all.

        Raises:
            UserError: a sample cannot be read, which is named by its place; or the encoder has no such vectors.
        """
        found = self._encode(self._in_parts(_InMemory(samples, self._fields()), is_kept=False), pool, modality)
        for key, reason in found.left_out.items():
            raise UserError(f"{key}: {reason}")
        if len(found.keys) < len(samples):
            missing = next(key for index in range(len(samples)) if (key := _in_place(index)) not in set(found.keys))
            raise UserError(f"{missing}: it holds nothing")
        return found.vectors

    def encode_dataset(
        self, changes: Sequence[str] = (), *, limit: int | None = None, pool: Pool = "mean", modality: str | None = None
    ) -> Vectors:
        """Vectors of the samples of the recipe's data set, or of another one.

        Args:
            changes: to the recipe's data (``["data.path=other"]``, ``["data={name: csv, path: rows.csv}"]``).
            limit: the first so many samples alone.
            pool, modality: as in :meth:`encode`.

        Raises:
            UserError: the data are not there, or none of them can be read.
        """
        recipe = load_recipe(self.recipe.path, changes) if changes and self.recipe.path is not None else self.recipe
        dataset: Dataset = recipe.data.dataset(Context(specs=self._built.specs, modalities=tuple(self._built.specs)))
        parts = self._in_parts(dataset if limit is None else _First(dataset, limit), is_kept=limit is None)
        found = self._encode(parts, pool, modality)
        if not found.keys:
            raise UserError(f"data: none of the samples can be read: {next(iter(found.left_out.values()), 'there is none')}")
        return found

    def _fields(self) -> tuple[str, ...]:
        """Fields of the recipe's only modality; none where there are several."""
        (only, *others) = self.recipe.modalities.values()
        return () if others else names_of(only.field)

    def _in_parts(self, dataset: Dataset, *, is_kept: bool) -> Dataset:
        """The data set, or its parts, as training has them; ``is_kept`` where the list of parts may come from the cache."""
        (reader, *others) = self._built.parts.values()
        if others or not isinstance(reader.tokenizer, Splits):
            return dataset
        if not is_kept:
            return Parts(dataset, reader, scan_parts(dataset, reader))
        return Parts(dataset, reader, list_parts(dataset, reader, options=reading_options(self.recipe, self._built.parts)))

    def _encode(self, dataset: Dataset, pool: Pool, modality: str | None) -> Vectors:
        check_pool(self._model, pool)
        if modality is not None and modality not in self._built.specs:
            raise UserError(f"the model has no modality {modality!r}; its modalities: {', '.join(self._built.specs)}")
        bad: dict[int, str] = {}
        keys: list[str] = []
        sizes: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        budget = AUTO_MICRO_BATCH.get(self._precision.device.type, AUTO_MICRO_BATCH["cpu"])
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
    """The first so many samples of a data set."""

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
    """Samples that a caller holds; ``fields`` of the only modality, whose values may stand alone."""

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
    """The encoder of a run, or of a folder that ``omnimask export --to safetensors`` wrote. Needs no data set.

    Args:
        path: the run's folder, or the exported one.
        checkpoint: of a run: ``best``, ``last``, or a name (``step-00001000``); its averaged weights, where the run keeps any.
        device: where it computes.
        runs_files: whether Python files that an exported recipe names under ``plugins`` are run.

    Raises:
        UserError: there is neither, its recipe cannot be used, or the checkpoint is not there or damaged.
    """
    path = Path(path)
    if (path / MODEL).is_file():
        return FrozenEncoder(load_exported(path, runs_files=runs_files), device)
    recipe, chosen = open_trained(path, checkpoint)
    built = build_without_data(recipe)
    load_checkpoint(built.model, chosen)
    return FrozenEncoder(built, device)
