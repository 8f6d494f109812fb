"""The framework's own positions, targets and embeddings, and the host components of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omnimask.component import Component, named
from omnimask.interfaces import Augment, Context, Renderer
from omnimask.testing import AugmentContract, EmbeddingContract, PositionContract, RendererContract, TargetContract
from omnimask_image.augment.geometry import Flip, RandomResizedCrop
from omnimask_image.show import ImageGrid


class TestSinCos(PositionContract):
    def position(self) -> Component[Any]:
        return named("position", "sincos")


class TestLearned(PositionContract):
    modality = "vectors"

    def position(self) -> Component[Any]:
        return named("position", "learned", max_length=32)


class TestRotary(PositionContract):
    def position(self) -> Component[Any]:
        return named("position", "rotary")


class TestAlibi(PositionContract):
    def position(self) -> Component[Any]:
        return named("position", "alibi")


class TestNoPosition(PositionContract):
    is_used = False

    def position(self) -> Component[Any]:
        return named("position", "none")


class TestIds(TargetContract):
    def target(self) -> Component[Any]:
        return named("target", "ids")


class TestPatch(TargetContract):
    modality = "vectors"

    def target(self) -> Component[Any]:
        return named("target", "patch", normalize=True)


class TestFrequency(TargetContract):
    modality = "vectors"

    def target(self) -> Component[Any]:
        return named("target", "frequency")


class TestTable(EmbeddingContract):
    def embedding(self) -> Component[Any]:
        return named("embedding", "table")


class TestLinear(EmbeddingContract):
    modality = "vectors"

    def embedding(self) -> Component[Any]:
        return named("embedding", "linear")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


class TestRandomResizedCrop(AugmentContract):
    def augment(self) -> Augment:
        return RandomResizedCrop(Context(), size=16)

    def raw_values(self) -> Sequence[Any]:
        return [picture(20, 24), picture(16, 40)]


class TestFlip(AugmentContract):
    def augment(self) -> Augment:
        return Flip(Context())

    def raw_values(self) -> Sequence[Any]:
        return [picture(4, 6), picture(1, 1)]


class TestImageGrid(RendererContract):
    def renderer(self) -> Renderer:
        return ImageGrid(Context())

    def raw_values(self) -> Sequence[Any]:
        return [picture(8, 8), picture(32, 20)]
