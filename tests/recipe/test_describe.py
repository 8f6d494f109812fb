"""Listings of options: names, types, ranges, defaults and descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Protocol

import pytest
from pydantic import Field

from omnimask.component import Component
from omnimask.data.config import DataOptions
from omnimask.recipe import OptionSchema, describe, schema_of
from omnimask.recipe.describe import readable
from omnimask.training.config import TrainConfig


class JointMasker(Protocol): ...


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "int"),
        (Annotated[float, Field(gt=0, le=1)], "float > 0, <= 1"),
        (str | None, "text | null"),
        (Path, "path"),
        (Literal["a", "b"], "a | b"),
        (tuple[float, float], "[float, float]"),
        (tuple[str, ...], "list of text"),
        (list[int], "list of int"),
        (dict[str, int], "mapping of text to int"),
        (Component[JointMasker], "joint masker component"),
        (list[Component[JointMasker]], "list of joint masker component"),
    ],
)
def test_annotations_in_words(annotation, words: str) -> None:
    assert readable(annotation) == words


def test_a_component_is_described_from_its_class(registry) -> None:
    schema = schema_of("tokenizer", "patches", registry)
    assert (schema.summary, schema.distribution, schema.version) == ("Cuts images into patches.", "fake-plugin", "1.0")
    assert schema.options == (
        OptionSchema("image_size", "int", "224", "edge of an image in pixels."),
        OptionSchema("patch_size", "int > 0", "16", ""),
    )
    path, suffixes, cache = schema_of("dataset", "folder", registry).options
    assert path.is_required
    assert path.description == "folder that holds the images"
    assert (suffixes.default, cache.default) == ("[.png]", "null")
    position = {option.name: option for option in schema_of("encoder", "transformer", registry).options}["position"]
    assert (position.type, position.default) == ("position component", "{name: sincos}")


def test_every_key_of_train_and_data_is_described() -> None:
    options = (*describe(TrainConfig), *describe(DataOptions))
    assert all(option.description for option in options)
    assert {option.name: option.type for option in options}["micro_batch_tokens"] == "int > 0 | auto"
