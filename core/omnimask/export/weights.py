"""A model as weights and a recipe: writing, reading, and initialization of another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from omnimask.builder.build import BuiltModel, build_without_data
from omnimask.errors import UserError
from omnimask.interfaces import Context, Exported, MaskedBatch, Model, Tokenizer, Trained
from omnimask.pretrained import load
from omnimask.recipe import load_recipe
from omnimask.run.provenance import RECIPE
from omnimask.training.checkpoints.contents import MODEL, read_weights, write_weights
from omnimask.training.checkpoints.durable_files import DurableWriter


class Safetensors:
    """All weights under their names in omnimask, and the resolved recipe: ``model.safetensors``, ``recipe.yaml``.

    Any model can be exported this way. ``omnimask.export.load_exported`` rebuilds the model from the folder. Start a recipe from
    its weights with ``init: {name: exported}``. The outputs are equal bit for bit.
    """

    format: ClassVar[str] = "safetensors"
    tolerance: ClassVar[float] = 0.0

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        (folder / RECIPE).write_text(trained.recipe, encoding="utf-8")
        with DurableWriter(folder / MODEL) as file:
            write_weights(cast(nn.Module, trained.model), file)
        return difference(outputs(trained.model, trained.batch), outputs(load_exported(folder).model, trained.batch))


class FromExported:
    """Initialization from a model written by ``omnimask export --to safetensors``.

    The weights must match those of the recipe's model one to one. Anything without weights may differ: data, masks, lengths, the
    wavelengths of rotary positions. Later phases of a pretraining are recipes that start this way.

    Args:
        path: the folder.
    """

    def __init__(self, context: Context, *, path: Annotated[Path, Field(description="folder written by export")]) -> None:
        del context
        self.path = path

    def __call__(self, model: Model, tokenizers: Mapping[str, Tokenizer]) -> None:
        del tokenizers  # weights without a vocabulary of their own: ids mean what they meant
        load(model, _read(self.path))


def load_exported(folder: Path, *, runs_files: bool = False) -> BuiltModel:
    """Load the model of a folder written by ``omnimask export --to safetensors``, in evaluation mode on the CPU.

    No data set is needed.

    Args:
        folder: the exported folder.
        runs_files: whether to run Python files listed by its recipe under ``plugins``, if any.

    Raises:
        UserError: the folder is not an export, or a component of its recipe is not installed.
    """
    if not (folder / RECIPE).is_file():
        raise UserError(f"{folder} contains no {RECIPE}; omnimask export --to safetensors writes one")
    built = build_without_data(load_recipe(folder / RECIPE, runs_files=runs_files))
    try:
        load(built.model, _read(folder))
    except ValueError as error:
        raise UserError(str(error)) from error
    built.model.eval()
    return built


def _read(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        raise ValueError(f"folder {folder} does not exist")
    try:
        return read_weights(folder)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder / MODEL} cannot be read: {error}") from error


def outputs(model: Model, batch: MaskedBatch) -> dict[str, Tensor]:
    """Return features and predictions of every pass of a model."""
    with torch.inference_mode():
        return dict(_outputs(model, batch))


def _outputs(model: Model, batch: MaskedBatch) -> Iterator[tuple[str, Tensor]]:
    for name, result in model.predict(batch).items():
        yield f"{name}: features", result.encoded.features.data
        for term, prediction in result.predictions.items():
            yield f"{name}: {term}", prediction.head(prediction.features)


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str = "features and predictions") -> Exported:
    """Return the largest difference between two models' outputs of equal names and shapes."""
    pairs = [(tensor, found[name]) for name, tensor in expected.items()]
    largest = max((float((mine - theirs).abs().max()) for mine, theirs in pairs if mine.numel()), default=0.0)
    return Exported(what, largest, max((float(mine.abs().max()) for mine, _ in pairs if mine.numel()), default=0.0))
