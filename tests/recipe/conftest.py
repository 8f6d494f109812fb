"""Component classes without torch, registered under the names that the recipes of these tests use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import pytest
from pydantic import Field

from omnimask.component import Component, named
from omnimask.registry import Plugin, Registrar, Registry


class Position(Protocol): ...


class Target(Protocol): ...


class Fake:
    def __init__(self, context: Any) -> None:
        self.context = context


class Patches:
    """Cuts images into patches.

    Args:
        image_size: edge of an image in pixels.
    """

    embedded: ClassVar[str | None] = "digits"
    decoder: ClassVar[str | None] = "reader"
    smoke: ClassVar[dict[str, Any]] = {"image_size": 32, "patch_size": 8}

    def __init__(self, context: Any, *, image_size: int = 224, patch_size: Annotated[int, Field(gt=0)] = 16) -> None:
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}")


class Words:
    embedded = "corpus"
    decoder = None

    def __init__(self, context: Any) -> None: ...


class Either:
    """Names embedded data by its options."""

    decoder = None

    @staticmethod
    def embedded(options: Mapping[str, Any]) -> str | None:
        return "digits" if options["small"] else None

    def __init__(self, context: Any, *, small: bool = True) -> None: ...


class Silent:
    embedded = None
    decoder = None

    def __init__(self, context: Any) -> None: ...


class Random:
    def __init__(
        self, context: Any, *, ratio: Annotated[float, Field(gt=0, lt=1, description="share of masked tokens")] = 0.75
    ) -> None: ...


class Span:
    def __init__(self, context: Any, *, mean_length: float = 3.0) -> None: ...


class Crop:
    def __init__(self, context: Any, *, scale: tuple[float, float] = (0.2, 1.0)) -> None: ...


class SinCos:
    smoke: ClassVar[dict[str, Any]] = {"levels": [1]}

    def __init__(self, context: Any, *, temperature: float = 1e4, levels: list[int] = [1, 2]) -> None:  # noqa: B006
        self.context, self.temperature = context, temperature


class Transformer:
    smoke: ClassVar[dict[str, Any]] = {"width": 64, "depth": 2, "bias": False, "mode": "flat"}

    def __init__(
        self,
        context: Any,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: int = 12,
        bias: bool = True,
        mode: Literal["flat", "deep"] = "deep",
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        extra: dict[str, Component[Position]] = {},  # noqa: B006
        chain: list[Component[Position]] = [],  # noqa: B006
        second: Component[Position] | None = None,
    ) -> None: ...


class Other:
    def __init__(self, context: Any, *, width: int = 8) -> None: ...


class PatchTarget:
    def __init__(self, context: Any, *, normalize: bool = True) -> None: ...


class Decoder:
    smoke: ClassVar[dict[str, Any]] = {"width": 32}

    def __init__(self, context: Any, *, target: Component[Target], width: int = 512) -> None: ...


class Folder:
    def __init__(
        self,
        context: Any,
        *,
        path: Annotated[Path, Field(description="folder that holds the images")],
        suffixes: tuple[str, ...] = (".png",),
        cache: Path | None = None,
    ) -> None: ...


class AdamW:
    def __init__(self, context: Any, *, lr: Annotated[float, Field(gt=0)], betas: tuple[float, float] = (0.9, 0.999)) -> None: ...


class Cosine:
    smoke: ClassVar[dict[str, Any]] = {"warmup": 2}

    def __init__(self, context: Any, *, warmup: int | Literal["auto"] = 0) -> None: ...


FAKES: dict[str, dict[str, type]] = {
    "tokenizer": {"patches": Patches, "words": Words, "either": Either, "silent": Silent},
    "decoder": {"reader": Fake},
    "augment": {"crop": Crop, "flip": Fake},
    "transform": {"crop": Crop, "swap": Fake},
    "masker": {"random": Random, "span": Span},
    "joint_masker": {"together": Fake},
    "corruptor": {"drop": Fake},
    "embedding": {"linear": Fake},
    "encoder": {"transformer": Transformer, "other": Other},
    "position": {"sincos": SinCos},
    "predictor": {"decoder": Decoder},
    "target": {"patch": PatchTarget},
    "dataset": {"folder": Folder, "digits": Fake, "corpus": Fake},
    "optimizer": {"adamw": AdamW},
    "schedule": {"cosine": Cosine, "constant": Fake},
}

RECIPE = """\
omnimask: 1
modalities:
  image:
    tokenizer: {name: patches, image_size: 224}
    augment: [{name: crop, scale: [0.2, 1]}, {name: flip}]
    masker: {name: random, ratio: 0.75}
    corruptor: {name: drop}
encoder: {name: transformer, width: 768}
predictors:
  - {name: decoder, of: image, target: {name: patch}}
data: {name: folder, path: images, validation: 0.1}
train:
  steps: 1000
  batch_tokens: 802816
  optimizer: {name: adamw, lr: 2.4e-3, betas: [0.9, 0.95]}
  schedule: {name: cosine, warmup: 500}
"""


@pytest.fixture(scope="session")
def registrar() -> Registrar:
    registrar = Registrar(Plugin("fakes", "fake-plugin", "1.0"))
    for kind, classes in FAKES.items():
        for name, cls in classes.items():
            registrar.add(kind, name, cls)
    return registrar


@pytest.fixture(scope="session")
def registry(registrar: Registrar) -> Registry:
    return Registry([registrar])


@pytest.fixture
def text() -> str:
    return RECIPE


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a file below the working directory and returns its relative name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str, name: str = "recipe.yaml") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
        return name

    return write


@pytest.fixture
def load(registry: Registry, write):
    """Loads a recipe from its text."""
    from omnimask.recipe import load_recipe

    return lambda content, overrides=(), **options: load_recipe(write(content), overrides, registry=registry, **options)


@pytest.fixture
def refused(load):
    """The messages with which a recipe is refused."""
    from omnimask.errors import UserError

    def refused(content: str, overrides=(), **options) -> list[str]:
        with pytest.raises(UserError) as info:
            load(content, overrides, **options)
        return list(info.value.messages)

    return refused
