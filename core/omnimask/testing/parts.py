"""Contracts for one encoder, one predictor, or one recipe: each builds a model around it and runs :class:`ModelContract`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from omnimask.builder import Built, build
from omnimask.component import Component
from omnimask.recipe import Recipe, load_recipe
from omnimask.registry import Registry
from omnimask.testing.check import require
from omnimask.testing.model import ModelContract
from omnimask.testing.synthetic import synthetic_recipe


class EncoderContract(ModelContract):
    """Subclass with :meth:`encoder`: it reads made-up letters with mask tokens, and a linear head answers.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
    """

    modality: ClassVar[str] = "letters"

    @abstractmethod
    def encoder(self) -> Component[Any]:
        """The encoder, small: ``named("encoder", "my", width=32)``, or ``Component("encoder", "my", {...}, cls=MyEncoder)``."""

    def built(self) -> Built:
        return build(synthetic_recipe(encoder=self.encoder(), modality=self.modality))

    def test_declares_its_size(self) -> None:
        encoder: Any = self.built().model.each()[0].encoder
        for name in ("width", "depth", "num_summary"):
            require(isinstance(getattr(encoder, name, None), int), f"an encoder has an attribute {name}, a whole number")


class PredictorContract(ModelContract):
    """Subclass with :meth:`predictor` and, where it needs another than mask tokens, :meth:`corruptor`.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        layer: the encoder layer that it reads, 1 or 2; None is the last.
    """

    modality: ClassVar[str] = "letters"
    layer: ClassVar[int | None] = None

    @abstractmethod
    def predictor(self) -> Component[Any]:
        """The predictor, small, its target included: ``named("predictor", "my.head", target=named("target", "ids"))``."""

    def corruptor(self) -> Component[Any]:
        """What the network reads; the predictor answers in this corruptor's stream."""
        return Component("corruptor", "mask_token")

    def masker(self) -> Component[Any]:
        """What is hidden."""
        return Component("masker", "random", {"ratio": 0.4})

    def built(self) -> Built:
        return build(
            synthetic_recipe(
                predictor=self.predictor(),
                corruptor=self.corruptor(),
                masker=self.masker(),
                modality=self.modality,
                layer=self.layer,
            )
        )


class RecipeContract(ModelContract):
    """Subclass with :meth:`recipe`: a whole recipe, on its own data or on the embedded data of a smoke run.

    Attributes:
        smoke: shrink it onto embedded data.
        overrides: ``key=value`` on top.
    """

    smoke: ClassVar[bool] = True
    overrides: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def recipe(self) -> str | Path:
        """Name or path of the recipe."""

    def registry(self) -> Registry | None:
        """Where names are looked up; None: what is installed."""
        return None

    def loaded(self) -> Recipe:
        """The validated recipe."""
        return load_recipe(self.recipe(), self.overrides, smoke=self.smoke, registry=self.registry())

    def built(self) -> Built:
        return build(self.loaded())

    def test_resolved_text_gives_an_equal_recipe(self, tmp_path: Path) -> None:
        recipe = self.loaded()
        file = tmp_path / "resolved.yaml"
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        require(
            load_recipe(file, registry=self.registry()) == recipe,
            "the resolved recipe, written and read again, differs from itself",
        )
