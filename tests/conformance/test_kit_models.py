"""Contracts around a model find what they are there to find: one broken component for every promise."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.embeddings.table import TableEmbedding
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.predictors.in_place import InPlace
from omnimask.components.targets.patch import Patch
from omnimask.interfaces import (
    Context,
    Draw,
    Encoded,
    FieldSpec,
    LossTerm,
    MaskedBatch,
    Packed,
    Placement,
    Prediction,
    Run,
    Stream,
    View,
)
from omnimask.testing import (
    EmbeddingContract,
    EncoderContract,
    PositionContract,
    PredictorContract,
    RecipeContract,
    TargetContract,
    synthetic_recipe,
)

from .failing import finds

# ---- models


class Leaky(TransformerEncoder):
    """Mixes what it must not mix, after the blocks."""

    fault: ClassVar[str]

    def forward(
        self,
        embedded: Packed,
        stream: Stream,
        batch: MaskedBatch,
        *,
        context: Encoded | None = None,
        layers: Sequence[int] = (),
        only_asked: bool = False,
    ) -> Encoded:
        encoded = super().forward(embedded, stream, batch, layers=layers)
        x = encoded.features.data
        if self.fault == "mixes samples":
            x = x + 0.01 * x.mean(0)
        if self.fault == "batch norm":
            x = nn.functional.batch_norm(x, None, None, training=True)
        if self.fault == "reads the store":
            x = x + 0.01 * batch.store["letters"].data[stream.source].float()[:, None]
        if self.fault == "reads nothing":
            x = x * 0 + torch.arange(len(x))[:, None]
        if self.fault == "detached":
            x = x.detach()
        if self.fault == "not finite":
            x = x * torch.inf
        return dataclasses.replace(encoded, features=Packed(x, stream.layout))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("mixes samples", "test_packed_equals_one_by_one", "samples influence each other"),
        ("mixes samples", "test_tokens_reach_only_slots_that_may_see_them", "a slot that must not see this token moves"),
        ("batch norm", "test_packed_equals_one_by_one", "samples influence each other"),
        ("batch norm", "test_micro_batches_give_the_same_gradient", "differs by"),
        ("reads the store", "test_hidden_content_is_not_read", "tokens in no slot; something"),
        ("reads nothing", "test_tokens_reach_only_slots_that_may_see_them", "does the model read its input"),
        ("detached", "test_loss_and_gradients_are_finite", "got no gradient"),
        ("not finite", "test_loss_and_gradients_are_finite", "the loss of the first batch is"),
        ("reads nothing", "test_overfits_one_batch", "must fall below"),
    ],
)
def test_encoder_contract(fault: str, test: str, message: str) -> None:
    class Contract(EncoderContract):
        overfit_steps = 5

        def encoder(self) -> Component[Any]:
            options = {"width": 16, "depth": 1, "heads": 2, "position": named("position", "sincos")}
            return Component("encoder", "leaky", options, cls=type("Leaky", (Leaky,), {"fault": fault}))

    finds(Contract(), test, message)


class MeanLoss(InPlace):
    """A mean over the micro-batch, whose divisor a split changes."""

    def losses(self, predictions: Mapping[str, Any], run: Run) -> Any:
        terms = super().losses(predictions, run)
        return [dataclasses.replace(t, total=t.total / len(p.targets)) for t, p in zip(terms, predictions.values(), strict=True)]


def test_predictor_contract() -> None:
    class Contract(PredictorContract):
        def predictor(self) -> Component[Any]:
            return Component("predictor", "mean", {"target": named("target", "ids")}, cls=MeanLoss)

    finds(Contract(), "test_micro_batches_give_the_same_gradient", "the loss differs by")


class Weighing(InPlace):
    """Weighs every answer by a field of its token."""

    def losses(self, predictions: Mapping[str, Any], run: Run) -> Any:
        weight = run.batch.fields["letters"]["trust"]
        terms = []
        for name, prediction in predictions.items():
            target, of = self.target(prediction.modality), prediction.targets.of
            loss = target.loss(prediction, target.answers(prediction, run)) * weight[of, 0].abs()
            terms.append(LossTerm(name, loss.sum()))
        return terms


class TestWeighing(PredictorContract):
    """A predictor that reads a field is given one."""

    fields: ClassVar[Mapping[str, FieldSpec]] = {"trust": FieldSpec("float32", shape=(1,))}

    def predictor(self) -> Component[Any]:
        return Component("predictor", "weighing", {"target": named("target", "ids")}, cls=Weighing)


# ---- positions, targets, embeddings


class Gated(nn.Module):
    """Learned vectors behind a gate that begins at zero, so that the first batch gives them no gradient."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.vectors, self.gate = nn.Parameter(torch.randn(32, context.width)), nn.Parameter(torch.zeros(1))

    def forward(self, stream: Stream) -> Placement:
        has = stream.has_position[:, None]
        added = self.gate * self.vectors[torch.where(has, stream.positions[:, :1], 0)[:, 0].long()]
        return Placement(added=torch.where(has, added, 0))


class TestGated(PositionContract):
    is_used = False  # at the start

    def position(self) -> Component[Any]:
        return Component("position", "gated", cls=Gated)


def test_a_gradient_of_zero_is_told_from_none() -> None:
    class Never(Gated):
        def forward(self, stream: Stream) -> Placement:
            placement = super().forward(stream)
            return Placement(added=None if placement.added is None else placement.added * 0)

    class Contract(PositionContract):
        def position(self) -> Component[Any]:
            return Component("position", "never", cls=Never)

    finds(Contract(), "test_loss_and_gradients_are_finite", "a zero gradient, even after all parameters changed")


class Off(nn.Module):
    """A sine of the position; breaks one promise."""

    fault: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.width = context.width

    def forward(self, stream: Stream) -> Placement:
        slots = torch.arange(stream.layout.num_slots)[:, None] if self.fault == "counts slots" else stream.positions[:, :1]
        has = torch.ones_like(slots, dtype=torch.bool) if self.fault == "no has_position" else stream.has_position[:, None]
        added = torch.where(has, slots, 0).sin() * torch.linspace(-1, 1, self.width - (self.fault == "too narrow"))
        return Placement(added=added / 0 if self.fault == "not finite" else added)


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("counts slots", "test_positions_matter", "use stream.positions"),
        ("counts slots", "test_packed_equals_one_by_one", "samples influence each other"),
        ("no has_position", "test_slots_without_a_position_get_nothing", "one; use stream.has_position"),
        ("too narrow", "test_placement_fits_the_stream", r"added has shape \(\d+, 15\); expected \(\d+, 16\)"),
        ("not finite", "test_placement_fits_the_stream", "added is not finite"),
    ],
)
def test_position_contract(fault: str, test: str, message: str) -> None:
    class Contract(PositionContract):
        def position(self) -> Component[Any]:
            return Component("position", "off", cls=type("Off", (Off,), {"fault": fault}))

    finds(Contract(), test, message)


def test_a_position_that_is_not_used_says_so() -> None:
    class Contract(PositionContract):
        is_used = False

        def position(self) -> Component[Any]:
            return named("position", "sincos")

    finds(Contract(), "test_positions_matter", "is_used is False")


class Wide(Patch):
    fault: ClassVar[str]

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        answers = super().answers(prediction, run)
        return prediction.head(prediction.features) if self.fault == "trained" else answers[self.fault == "short" :]

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        if self.fault == "empty" and not len(answers):
            raise RuntimeError("nothing to do")
        loss = super().loss(prediction, answers)
        if self.fault == "reduced":
            return loss.mean()
        return loss * len(loss) if self.fault == "depends on the batch" else loss

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        content = super().content(prediction, run)
        assert content is not None
        return content.repeat(1, 2) if self.fault == "content" else content


@pytest.mark.parametrize(
    ("fault", "test", "error", "message"),
    [
        ("reduced", "test_one_loss_for_each_target", AssertionError, "one number for each target"),
        ("trained", "test_answers_are_not_trained", AssertionError, "answers require a gradient;"),
        ("short", "test_answers_are_not_trained", AssertionError, r"answers has \d+ rows for"),
        ("depends on the batch", "test_targets_are_independent", AssertionError, "set is_exact = False"),
        ("empty", "test_no_targets_are_no_error", RuntimeError, "nothing to do"),
        ("content", "test_content_can_be_looked_at", AssertionError, "content must have shape"),
    ],
)
def test_target_contract(fault: str, test: str, error: type[Exception], message: str) -> None:
    class Contract(TargetContract):
        modality = "vectors"

        def target(self) -> Component[Any]:
            return Component("target", "wide", cls=type("Wide", (Wide,), {"fault": fault}))

    with pytest.raises(error, match=message):
        getattr(Contract(), test)()


class Mixing(TableEmbedding):
    fault: ClassVar[str]

    def forward(self, content: Tensor) -> Tensor:
        embedded = super().forward(content)
        return embedded.roll(1, 0) if self.fault == "mixes" else embedded

    def ids(self, literal: Tensor) -> Tensor:
        return super().ids(literal)[:, : -1 if self.fault == "narrow" else None]


@pytest.mark.parametrize(("fault", "message"), [("mixes", "set is_local = False"), ("narrow", "ids: ")])
def test_embedding_contract(fault: str, message: str) -> None:
    class Contract(EmbeddingContract):
        def embedding(self) -> Component[Any]:
            return Component("embedding", "mixing", cls=type("Mixing", (Mixing,), {"fault": fault}))

    finds(Contract(), "test_content_and_special_ids_have_the_width", message)


# ---- what every model and every pipeline must do besides


class Careful(InPlace):
    """Breaks one promise while it predicts or is stored."""

    fault: ClassVar[str]

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        found = super().predict(encoded, view, run)
        if self.fault == "global randomness":
            scale = 1 + random.random()
            return {term: dataclasses.replace(p, features=p.features * scale) for term, p in found.items()}
        if self.fault == "half":
            return {term: dataclasses.replace(p, features=p.features * 1e38 * 1e3) for term, p in found.items()}
        return found

    def get_extra_state(self) -> Any:
        return Draw(0, 0, "an object") if self.fault == "objects" else torch.zeros(1)

    def set_extra_state(self, state: Any) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("global randomness", "test_torch_seeds_decide", "the same batch under the same torch seed"),
        ("half", "test_half_precision_is_finite", "compute losses in float32"),
        ("objects", "test_state_dict_round_trip", "cannot be stored as plain tensors"),
    ],
)
def test_model_contract(fault: str, test: str, message: str) -> None:
    class Contract(PredictorContract):
        def predictor(self) -> Component[Any]:
            cls = type("Careful", (Careful,), {"fault": fault})
            return Component("predictor", "careful", {"target": named("target", "ids")}, cls=cls)

    finds(Contract(), test, message)


class Tapped(TransformerEncoder):
    fault: ClassVar[str]

    def forward(
        self,
        embedded: Packed,
        stream: Stream,
        batch: MaskedBatch,
        *,
        context: Encoded | None = None,
        layers: Sequence[int] = (),
        only_asked: bool = False,
    ) -> Encoded:
        encoded = super().forward(embedded, stream, batch, layers=layers, only_asked=only_asked)
        if self.fault == "no layers":
            return dataclasses.replace(encoded, layers={})
        if self.fault == "narrow":
            return dataclasses.replace(encoded, features=Packed(encoded.features.data[:, 1:], stream.layout))
        if self.fault == "asked" and only_asked:
            return dataclasses.replace(encoded, features=Packed(encoded.features.data * 2, encoded.features.layout))
        return encoded


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("no layers", "test_features_and_layers_fit_the_stream", r"layers \[1\] were requested, got \[\]"),
        ("asked", "test_only_asked_features_are_the_same", "features of the target slots differ"),
    ],
)
def test_encoder_contract_on_layers(fault: str, test: str, message: str) -> None:
    class Contract(EncoderContract):
        def encoder(self) -> Component[Any]:
            options = {"width": 16, "depth": 1, "heads": 2, "position": named("position", "sincos")}
            return Component("encoder", "tapped", options, cls=type("Tapped", (Tapped,), {"fault": fault}))

    finds(Contract(), test, message)


class Counting(RandomMasker):
    """Keeps a state that a pickled copy does not have."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, ratio=0.5)
        self.masker: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "ratio": 0.25}


def test_recipe_contract_on_workers() -> None:
    class Contract(RecipeContract):
        def recipe(self) -> str:
            return "made up"

        def built(self) -> Built:
            return build(synthetic_recipe(masker=Component("masker", "counting", cls=Counting)))

    finds(Contract(), "test_pipeline_reaches_the_workers", "a pickled pipeline returns another batch;")
