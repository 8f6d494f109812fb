"""Contracts of encoders, embeddings, predictors and recipes. Each builds a model around the component."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.data.planner import Place
from omnimask.interfaces import FieldSpec
from omnimask.recipe import Recipe, load_recipe
from omnimask.registry import Registry
from omnimask.testing.model import ModelContract, predictions
from omnimask.testing.requirements import distance, require, require_picklable, same
from omnimask.testing.synthetic import synthetic_recipe


class EncoderContract(ModelContract):
    """Contract of an encoder. Subclasses implement :meth:`encoder`.

    It reads synthetic letters with mask tokens, and a linear head answers.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        fields: token fields with synthetic values, for an encoder reading them.
    """

    modality: ClassVar[str] = "letters"
    fields: ClassVar[Mapping[str, FieldSpec]] = {}

    @abstractmethod
    def encoder(self) -> Component[Any]:
        """Return a small encoder: ``named("encoder", "my", width=32)``, or ``Component("encoder", "my", {...}, cls=MyEncoder)``."""

    def built(self) -> Built:
        return build(synthetic_recipe(encoder=self.encoder(), modality=self.modality, fields=self.fields))

    def test_declares_its_size(self) -> None:
        encoder: Any = self.built().model.each()[0].encoder
        for name in ("width", "depth", "num_summary"):
            require(isinstance(getattr(encoder, name, None), int), f"an encoder needs an integer attribute {name}")

    @torch.no_grad()
    def test_features_and_layers_fit_the_stream(self) -> None:
        built = self.built()
        part, batch = built.model.eval().each()[0], self.batch(built)
        encoder: Any = part.encoder
        layers = tuple(range(1, encoder.depth + 1))
        encoded = part.network(batch.views[part.view].context, batch, layers=layers)
        slots, sequences = encoded.stream.layout.num_slots, encoded.stream.layout.num_sequences
        found = {"features": encoded.features.data, **{f"layers[{layer}]": value for layer, value in encoded.layers.items()}}
        require(set(encoded.layers) == set(layers), f"layers {list(layers)} were requested, got {sorted(encoded.layers)}")
        for name, value in found.items():
            require(
                tuple(value.shape) == (slots, encoder.width),
                f"{name} must have shape {(slots, encoder.width)}, not {tuple(value.shape)}",
            )
        if encoder.num_summary:
            shape = (sequences, encoder.num_summary, encoder.width)
            require(
                encoded.summary is not None and tuple(encoded.summary.shape) == shape,
                f"num_summary is {encoder.num_summary}, so summary must have shape {shape}",
            )

    def test_only_asked_features_are_the_same(self) -> None:
        """Check that features computed with ``only_asked``, which may omit unread ones, stay the same."""
        built = self.built()
        model, batch = built.model.eval(), self.batch(built)
        whole, asked = predictions(model, batch), predictions(model, batch, only_asked=True)
        for term, values in whole.items():
            require(
                distance(asked[term], values) <= self.tolerance,
                f"term {term}: with only_asked, features of the target slots differ from those of all slots",
            )


class EmbeddingContract(ModelContract):
    """Contract of an embedding. Subclasses implement :meth:`embedding`; a small transformer reads it.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
    """

    modality: ClassVar[str] = "letters"

    @abstractmethod
    def embedding(self) -> Component[Any]:
        """Return the embedding: ``named("embedding", "my")``, or ``Component("embedding", "my", {...}, cls=MyEmbedding)``."""

    def built(self) -> Built:
        return build(synthetic_recipe(embedding=self.embedding(), modality=self.modality))

    def test_content_and_special_ids_have_the_width(self) -> None:
        built = self.built()
        part, batch = built.model.each()[0], self.batch(built)
        embedding: Any = part.embeddings[self.modality]
        width: int = cast(Any, part.encoder).width
        content = batch.store[self.modality].data
        special = torch.tensor([built.specs[self.modality].id(name) for name in built.specs[self.modality].specials])
        for name, found, rows in (("content", embedding(content), len(content)), ("ids", embedding.ids(special), len(special))):
            require(tuple(found.shape) == (rows, width), f"{name}: {tuple(found.shape)} instead of {(rows, width)}")
        require(
            isinstance(embedding.is_local, bool), "an embedding needs a boolean is_local: whether each token is embedded by itself"
        )
        if embedding.is_local:
            apart = torch.cat([embedding(row[None]) for row in content[:5]])
            require(
                distance(apart, embedding(content)[:5]) <= self.tolerance,
                "tokens embedded together and one by one differ; set is_local = False for an embedding that mixes them",
            )


class PredictorContract(ModelContract):
    """Contract of a predictor. Subclasses implement :meth:`predictor` and, unless mask tokens suffice, :meth:`corruptor`.

    Attributes:
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        layer: the encoder layer it reads, 1 or 2; None is the last.
        query: ``again`` for a predictor decoding another view of the sample; this view has half of the tokens.
        group: samples per group, for a predictor comparing them.
        fields: token fields with synthetic values, for a predictor or target reading them.
    """

    modality: ClassVar[str] = "letters"
    layer: ClassVar[int | None] = None
    query: ClassVar[str | None] = None
    group: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, FieldSpec]] = {}

    @abstractmethod
    def predictor(self) -> Component[Any]:
        """Return the predictor, small, with its target: ``named("predictor", "my.head", target=named("target", "ids"))``."""

    def corruptor(self) -> Component[Any]:
        """Return the corruptor of the network's input. The predictor answers in its stream."""
        return Component("corruptor", "mask_token")

    def masker(self) -> Component[Any]:
        """Return the masker."""
        return Component("masker", "random", {"ratio": 0.4})

    def built(self) -> Built:
        return build(
            synthetic_recipe(
                predictor=self.predictor(),
                corruptor=self.corruptor(),
                masker=self.masker(),
                modality=self.modality,
                layer=self.layer,
                query=self.query,
                group=self.group,
                fields=self.fields,
            )
        )


class RecipeContract(ModelContract):
    """Contract of a whole recipe, on its own data or on the embedded data of a smoke run. Subclasses implement :meth:`recipe`.

    Attributes:
        smoke: shrink it onto embedded data.
        overrides: ``key=value`` on top.
    """

    smoke: ClassVar[bool] = True
    overrides: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def recipe(self) -> str | Path:
        """Return the name or path of the recipe."""

    def registry(self) -> Registry | None:
        """Return the source of components; None for the installed ones."""
        return None

    def loaded(self) -> Recipe:
        """Return the validated recipe."""
        return load_recipe(self.recipe(), self.overrides, smoke=self.smoke, registry=self.registry())

    def built(self) -> Built:
        return build(self.loaded())

    def test_pipeline_reaches_the_workers(self) -> None:
        built = self.built()
        again = require_picklable(built.pipeline, "the pipeline of tokenizers, maskers and corruptors")
        places = [Place(0, position, index, 0.0) for position, index in enumerate(built.train_indices[:4].tolist())]
        require(
            same(built.pipeline(places).batch, again(places).batch),
            "a pickled pipeline returns another batch; keep no state in host components",
        )

    def test_resolved_text_gives_an_equal_recipe(self, tmp_path: Path) -> None:
        recipe = self.loaded()
        file = tmp_path / "resolved.yaml"
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        require(
            load_recipe(file, registry=self.registry()) == recipe,
            "the resolved recipe differs after writing and reading",
        )
