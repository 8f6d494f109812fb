"""Shipped recipes on the annotated reports, small enough for tests."""

from __future__ import annotations

from typing import Any

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import Sample, Stream
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER

SMALL = (
    f"modalities.text.tokenizer.path={FOLDER}",
    "modalities.text.tokenizer.max_length=128",
    "modalities.text.field=text",
    "data={name: chronicle, validation: 0.02, max_validation: 64}",
    "init=null",
    "encoder.width=64",
    "encoder.depth=2",
    "encoder.heads=4",
    "encoder.dropout=0",
    "encoder.position.max_length=256",
    "train.batch_tokens=2048",
    "train.workers=0",
    "train.schedule={name: constant}",
    "device=cpu",
)
BYTES = "modalities.text.tokenizer={name: text.bytes, max_length: 1024, annotations: {entity: [person, place, organisation]}}"
"""A tokenizer that gives every text back as it was."""


def small(recipe: str, *more: str) -> Built:
    return build(load_recipe(recipe, [*SMALL, *more]))


def seen(built: Built, count: int, *, epoch: int = 0, progress: float = 0.0) -> list[tuple[Sample, Stream]]:
    """Training samples, and what the network reads of them, at a share of the run."""
    found = []
    for at, index in enumerate(built.train_indices[:count].tolist()):
        sample = built.pipeline.sample(Place(epoch, at, index, progress))
        found.append((sample, built.pipeline.views["main"](sample).context))
    return found


def tokenizer_of(built: Built) -> Any:
    """The tokenizer that the recipe's texts are read by."""
    return built.pipeline.modalities["text"].tokenizer
