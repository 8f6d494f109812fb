"""Figures of a trained model's reconstructions, drawn by the modalities' renderers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omnimask.builder.build import Built
from omnimask.component import Component
from omnimask.data.order import LARGE
from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Place
from omnimask.data.training_indices import Indices
from omnimask.data.validation_split import spread
from omnimask.errors import UserError
from omnimask.interfaces import Context, Dataset, MaskedBatch, Reconstruction, Renderer, Sample
from omnimask.messages.printable import printable
from omnimask.recipe import Recipe
from omnimask.registry import discover
from omnimask.report.reconstruct import reconstruct
from omnimask.training.devices.precision import Precision

COUNT = 6
"""Default number of samples in a figure."""
_LOOKED_AT = 20
"""Number of samples to examine for labels, per sample in a figure."""
_CONSIDERED = 65_536
"""Number of samples to choose from in a very large data set."""


def load_renderers(recipe: Recipe) -> dict[str, type[Renderer]]:
    """Return the renderer of each modality's tokenizer, without modalities lacking one.

    Raises:
        UserError: a renderer or an optional dependency of it is not installed.
    """
    names = {name: config.tokenizer.load().renderer for name, config in recipe.modalities.items()}
    return {name: discover().load("renderer", renderer) for name, renderer in names.items() if renderer is not None}


def held_out_samples(built: Built, count: int) -> list[Sample]:
    """Return readable held-out samples, with validation's masks, or training samples if none are held out.

    See :func:`varied_samples` for their order.
    """
    return varied_samples(built, built.validation_indices if len(built.validation_indices) else built.train_indices, count)


def varied_samples(built: Built, indices: Indices, count: int) -> list[Sample]:
    """Return readable samples among ``indices``, with validation's masks.

    Their order follows the digests of their keys, independent of the folder, with one of each label before the second of any. Of
    more than 4,194,304 indices, 65,536 evenly spaced ones are considered.
    """
    indices = indices if len(indices) <= LARGE else spread(indices, _CONSIDERED)
    ordered = by_label(built.dataset, by_key(built.dataset, indices.tolist()), count)
    return read_samples(built.validation, [Place(0, 0, index, 0.0) for index in ordered], count)


def by_key(dataset: Dataset, indices: Sequence[int]) -> list[int]:
    """Sort indices by the digests of their keys."""
    return sorted(indices, key=lambda index: blake2b(dataset.key(index).encode("utf-8", "surrogateescape"), digest_size=8).digest())


def by_label(dataset: Dataset, indices: Sequence[int], count: int) -> list[int]:
    """Sort indices with one sample of each label first, if there are labels. Only the first few dozen are examined."""
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int]] = []
    looked_at = indices[: _LOOKED_AT * count]
    for number, index in enumerate(looked_at):
        try:
            label = dataset[index].get("label")
        except (OSError, ValueError):
            label = None
        turn = 0 if label is None else seen.get(str(label), 0)
        if label is not None:
            seen[str(label)] = turn + 1
        ranked.append((turn, number))
    return [*(looked_at[number] for _, number in sorted(ranked)), *indices[_LOOKED_AT * count :]]


def read_samples(pipeline: Pipeline, places: Iterable[Place], count: int) -> list[Sample]:
    """Return up to ``count`` readable samples.

    Raises:
        UserError: none is readable.
    """
    samples: list[Sample] = []
    reason = "there are no samples"
    for place in places:
        if len(samples) == count:
            break
        try:
            samples.append(pipeline.sample(place))
        except (OSError, ValueError) as error:
            reason = f"{pipeline.dataset.key(place.index)}: {error}"
    if not samples:
        raise UserError(f"no readable sample: {reason}")
    return samples


def fill_in(
    built: Built, samples: Sequence[Sample], precision: Precision, pipeline: Pipeline | None = None
) -> dict[str, list[Reconstruction]]:
    """Return the model's reconstructions of the samples by modality, with its current weights.

    ``pipeline`` masks the samples, each once; the default is the validation pipeline.

    Raises:
        RunStopped: a masker or a corruptor rejects a sample.
    """
    batch: MaskedBatch = (pipeline or built.validation).without_repetitions.pack(samples)
    return reconstruct(built.model, samples, batch, built.tokenizers, built.specs, precision)


def render(recipe: Recipe, found: Mapping[str, Sequence[Reconstruction]], path: Path, *, title: str = "") -> list[Path]:
    """Draw every modality with a renderer, and return the files.

    Args:
        recipe: its tokenizers name the renderers.
        found: by modality.
        path: of the file; its suffix is the renderer's. With several modalities, their names are appended.
        title: above the drawing.

    Raises:
        UserError: no modality has a renderer.
    """
    renderers = load_renderers(recipe)
    drawn = [name for name in renderers if found.get(name)]
    if not drawn:
        raise UserError(f"no renderer for the modalities {', '.join(recipe.modalities)}")
    files: list[Path] = []
    for name in drawn:
        renderer: Any = Component("renderer", str(recipe.modalities[name].tokenizer.load().renderer))(Context(modalities=(name,)))
        stem = path.stem if path.suffix == renderer.suffix else path.name
        whole = stem if len(recipe.modalities) == 1 else f"{stem}-{name}"
        files.append(renderer(found[name], path.with_name(whole + renderer.suffix), title=printable(title)))
    return files


def draw_run(built: Built, precision: Precision, path: Path, *, count: int = COUNT, title: str = "") -> list[Path]:
    """Draw held-out samples reconstructed with the model's current weights. Return no files if no modality has a renderer."""
    if not load_renderers(built.recipe):
        return []
    found = fill_in(built, held_out_samples(built, count), precision)
    return render(built.recipe, found, path, title=title)
