"""Contracts of augmentations and renderers."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from omnimask.interfaces import Augment, Reconstruction, Renderer
from omnimask.testing.requirements import DRAW, disturb_global_randomness, draws, require, require_picklable, same


class AugmentContract(ABC):
    """Contract of an augmentation. Subclasses implement :meth:`augment` and :meth:`raw_values`.

    Attributes:
        is_random: whether different samples are changed differently.
    """

    is_random: ClassVar[bool] = True

    @abstractmethod
    def augment(self) -> Augment:
        """Return the augmentation, built as in a recipe."""

    @abstractmethod
    def raw_values(self) -> Sequence[Any]:
        """Return a few raw values, as produced by decoders and data sets."""

    def test_deterministic_per_draw(self) -> None:
        augment = self.augment()
        for raw in self.raw_values():
            first = augment(copy.deepcopy(raw), DRAW)
            disturb_global_randomness(1)
            augment(copy.deepcopy(raw), draws(2)[1])
            require(
                same(first, augment(copy.deepcopy(raw), DRAW)),
                "one draw gave two results; take every random number from draw.rng(...) or draw.uniform(...), and keep no state",
            )

    def test_samples_are_changed_differently(self) -> None:
        augment, raw = self.augment(), self.raw_values()[0]
        results = [augment(copy.deepcopy(raw), draw) for draw in draws(20)]
        differ = any(not same(results[0], other) for other in results[1:])
        require(
            differ or not self.is_random,
            "twenty draws gave one result; use draw.rng or draw.uniform directly, or set is_random = False",
        )

    def test_raw_values_are_not_changed(self) -> None:
        augment = self.augment()
        for raw in self.raw_values():
            before = copy.deepcopy(raw)
            augment(raw, DRAW)
            require(same(before, raw), "the augmentation changed its input; work on a copy")

    def test_picklable(self) -> None:
        augment = self.augment()
        again = require_picklable(augment, "the augmentation")
        for raw in self.raw_values():
            require(same(augment(raw, DRAW), again(raw, DRAW)), "a pickled augmentation differs from the original")


class RendererContract(ABC):
    """Contract of a renderer. Subclasses implement :meth:`renderer` and :meth:`raw_values`."""

    @abstractmethod
    def renderer(self) -> Renderer:
        """Return the renderer, built as in a recipe."""

    @abstractmethod
    def raw_values(self) -> Sequence[Any]:
        """Return raw values, as produced by the tokenizer's ``decode``: the smallest and the largest to draw."""

    def reconstructions(self) -> list[Reconstruction]:
        """Return one reconstruction for each raw value."""
        return [Reconstruction(f"sample/{number}", raw, raw, raw, "as it is") for number, raw in enumerate(self.raw_values())]

    def test_draws_a_file_where_it_is_told_to(self, tmp_path: Path) -> None:
        renderer, path = self.renderer(), tmp_path / "new" / f"figure{self.renderer().suffix}"
        require(renderer.suffix.startswith("."), f"suffix must be a file extension with its dot, not {renderer.suffix!r}")
        written = renderer(self.reconstructions(), path, title="A title")
        require(
            written == path and path.is_file() and path.stat().st_size > 0,
            f"for {path}, the renderer returned {written}; create the folder, write the file, and return its path",
        )

    def test_draws_one_and_many(self, tmp_path: Path) -> None:
        renderer = self.renderer()
        for count in (1, 12):
            renderer(self.reconstructions()[:1] * count, tmp_path / f"{count}{renderer.suffix}")

    def test_draws_what_no_model_filled_in(self, tmp_path: Path) -> None:
        """Check drawing without a model: for `omnimask inspect --figure`, ``filled`` is None."""
        renderer = self.renderer()
        unfilled = [dataclasses.replace(one, filled=None) for one in self.reconstructions()]
        renderer(unfilled, tmp_path / f"unfilled{renderer.suffix}")

    def test_draws_the_same_twice(self, tmp_path: Path) -> None:
        renderer = self.renderer()
        paths = [renderer(self.reconstructions(), tmp_path / f"{name}{renderer.suffix}") for name in "ab"]
        require(
            paths[0].read_bytes() == paths[1].read_bytes(),
            "two figures of the same reconstructions differ; do not use random numbers",
        )
