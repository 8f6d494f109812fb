"""Small made-up modalities, one continuous and one discrete, and models over samples that a test made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.data.config import DataOptions
from omnimask.evaluation.features import backbone
from omnimask.interfaces import Context, TokenSpec
from omnimask.recipe import DataConfig, ModalityConfig, PredictorConfig, Recipe
from omnimask.testing import synthetic
from omnimask.testing.synthetic import WIDTH, VectorTokenizer
from omnimask.training.config import TrainConfig

LENGTH = 8


class Rows(VectorTokenizer):
    """(L, 4) float32 arrays whose specification scales them."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(width=(WIDTH,), mean=(1.0,), std=(2.0,))


class Letters(synthetic.Letters):
    """(L,) ids below 5."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=5)


class Given:
    """Samples that a test made."""

    def __init__(self, samples: Mapping[str, Mapping[str, Any]]) -> None:
        self.samples = dict(samples)
        self.keys = list(self.samples)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        return self.keys[index]

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        self.reads += 1
        sample = self.samples[self.keys[index]]
        if sample.get("broken"):
            raise ValueError("broken")
        return sample

    def fingerprint(self) -> str:
        return "given"


def small_recipe(tokenizer: type = Rows, *, validation: float = 0.3, summary: int = 1, **train: Any) -> Recipe:
    name = tokenizer.__name__.lower()
    modality = ModalityConfig(
        name=name,
        tokenizer=Component("tokenizer", name, cls=tokenizer),
        field="values",
        masker=named("masker", "random", ratio=0.5),
        corruptor=named("corruptor", "drop"),
    )
    encoder = named("encoder", "transformer", width=24, depth=2, heads=2, summary=summary)
    target = named("target", "ids" if issubclass(tokenizer, Letters) else "patch")
    decoder = named("predictor", "decoder", width=16, depth=1, heads=2, target=target)
    return Recipe(
        modalities={name: modality},
        encoder=encoder,
        predictors=(PredictorConfig(decoder, (name,), None, 1.0, "decoder"),),
        data=DataConfig(Component("dataset", "given", cls=_Nothing), DataOptions(validation=validation)),
        train=TrainConfig(steps=1, batch_tokens=64, **train),
        device="cpu",
    )


class _Nothing(Given):
    """Replaced by :func:`built_on`."""

    def __init__(self, context: Context) -> None:
        super().__init__({"nothing": {"values": np.zeros((2, WIDTH), np.float32)}})


def built_on(samples: Mapping[str, Mapping[str, Any]], recipe: Recipe | None = None) -> Built:
    """A recipe's model over samples that a test made."""

    class Samples(Given):
        def __init__(self, context: Context) -> None:
            super().__init__(samples)

    recipe = recipe or small_recipe()
    data = DataConfig(Component("dataset", "given", cls=Samples), recipe.data.options)
    return build(Recipe(**{**recipe.__dict__, "data": data}))


def answering(
    samples: Mapping[str, Mapping[str, Any]], shares: Sequence[float], tokenizer: type | None = None, **corruptor: Any
) -> Built:
    """A model of ids whose head gives every id its share, whatever it reads: BERT's arrangement on samples that a test made.

    ``corruptor`` is a name with options; ``mask_token`` if there is none.
    """
    recipe = small_recipe(tokenizer or Letters, summary=0)
    ((name, modality),) = recipe.modalities.items()
    corruptor = corruptor or {"name": "mask_token"}
    options = {key: value for key, value in corruptor.items() if key != "name"}
    modality = dataclasses.replace(modality, corruptor=named("corruptor", corruptor["name"], **options))
    head = PredictorConfig(named("predictor", "in_place", target=named("target", "ids")), (name,), None, 1.0, "in_place")
    built = built_on(samples, dataclasses.replace(recipe, modalities={name: modality}, predictors=(head,)))
    (predictor,) = backbone(built.model).predictors.values()
    with torch.no_grad():
        layer: Any = predictor.get_submodule(f"heads.{name}")
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(shares).log())
    return built


def random_samples(count: int, *, classes: int = 3, lengths: tuple[int, int] = (LENGTH, LENGTH)) -> dict[str, dict[str, Any]]:
    """Noise around a vector of its class, with a label; keys ``s/000`` and so on."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (classes, WIDTH))
    samples = {}
    for number in range(count):
        length = int(rng.integers(lengths[0], lengths[1] + 1))
        values = centres[number % classes] + rng.normal(0, 0.5, (length, WIDTH))
        samples[f"s/{number:03d}"] = {"values": values.astype(np.float32), "label": f"class {number % classes}"}
    return samples


@pytest.fixture
def samples() -> dict[str, dict[str, Any]]:
    return random_samples(60)
