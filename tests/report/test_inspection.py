"""Costs of recipes with several networks and passes, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch
from omnimask.report.inspection import activation_bytes, inspect, parameters_by_part, step_flops
from omnimask.run.figures import read_samples

FEATURES = (
    "modalities.signal.corruptor={name: mask_token}",
    "predictors=[{name: in_place, target: {name: features, of: teacher}}]",
)
WIDTH, WINDOW, DEPTH = 48, 8, 3


def a_batch(toy: Built) -> MaskedBatch:
    batch = toy.pipeline(toy.planner().step(0, Cursor()).places).batch
    assert batch is not None
    return batch


def test_a_teacher_costs_one_forward_pass(built: Callable[..., Built]) -> None:
    """2 operations per multiply-add; a trained product costs three: itself, the gradients of its input and of its weights."""
    toy = built("signal_latent", FEATURES)
    batch = a_batch(toy)
    stream = batch.views["main"].context
    assert stream.asked is not None
    lengths, asked = stream.layout.lengths.astype(float), np.asarray(stream.asked.layout.lengths).astype(float)
    slots, num_asked = lengths.sum(), asked.sum()

    def block(rows: float, pairs: float) -> float:
        """Keys and values of all slots; queries, projection and MLP of ``rows``; scores and mixtures of ``pairs`` of slots."""
        return 4 * slots * WIDTH**2 + (2 + 2 + 16) * rows * WIDTH**2 + 4 * WIDTH * pairs

    embedded = 2 * WINDOW * WIDTH
    teacher = embedded * slots + DEPTH * block(slots, (lengths**2).sum())
    body = (DEPTH - 1) * block(slots, (lengths**2).sum()) + block(num_asked, (lengths * asked).sum())
    head = 2 * num_asked * WIDTH**2
    shown = slots - num_asked  # the windows themselves have no gradient
    assert step_flops(toy.model, batch) == teacher + 3 * (body + head) + 2 * embedded * shown
    assert all(parameter.grad is None for parameter in toy.model.parameters())


def test_drawing_from_a_generator_costs_its_head_once_more(built: Callable[..., Built]) -> None:
    """The head is trained for its own loss; draws need its logits again, without gradient."""
    toy = built("words_judged")
    batch = a_batch(toy)
    judge = "{name: in_place, label: replaced, weight: 5.0, dense: true, target: {name: was_replaced}}"
    plain = built("words_judged", (f"passes.1={{name: main, view: judged, predictors: [{judge}]}}",))
    asked = batch.views["main"].context.targets
    rows = toy.model.networks["main"].embeddings["words"].weight.shape[0]
    assert step_flops(toy.model, batch) - step_flops(plain.model, batch) == 2 * len(asked) * rows * WIDTH


def test_every_network_has_its_parameters_once(built: Callable[..., Built]) -> None:
    toy = built("signal_latent")
    found = parameters_by_part(toy.model)
    assert list(found) == [
        "main embedding signal",
        "main encoder",
        "teacher embedding signal",
        "teacher encoder",
        "predictor decoder",
    ]
    assert found["main encoder"] == found["teacher encoder"] > 0
    assert sum(found.values()) == toy.model.num_parameters


@pytest.mark.parametrize("name", ["words_corrected", "words_judged", "words_mirrored", "pairs_stacked", "words_in_place"])
def test_parts_are_all_parameters(built: Callable[..., Built], name: str) -> None:
    model = built(name).model
    found = parameters_by_part(model)
    assert sum(found.values()) == model.num_parameters
    assert (len(model.networks) == 1) == ("encoder" in found)


def test_shared_embeddings_count_for_their_owner(built: Callable[..., Built]) -> None:
    narrow = "encoders.generator={name: bert, width: 16, depth: 1, heads: 2, embeddings: main}"
    found = parameters_by_part(built("words_judged", (narrow, "passes.0.predictors=[{name: mlm, tied: false}]")).model)
    assert found["main embedding words"] > 0 == found["generator embedding words"]
    assert found["generator map of embeddings"] == 48 * 16 + 16


def test_a_teacher_needs_no_memory_but_its_weights(built: Callable[..., Built]) -> None:
    toy = built("signal_latent")
    places = toy.planner().step(0, Cursor()).places
    found = inspect(toy, read_samples(toy.validation, places, 4), "cpu")
    trained = found.parameters["main embedding signal"] + found.parameters["main encoder"] + found.parameters["predictor decoder"]
    assert found.num_trained == trained < toy.model.num_parameters
    assert found.memory["parameters"] == 4 * toy.model.num_parameters
    assert found.memory["gradients"] == 4 * trained
    assert found.memory["optimizer"] == 2 * 4 * trained


def test_a_teacher_keeps_no_activations(built: Callable[..., Built]) -> None:
    """A trained network of the same size in its place doubles them."""
    toy = built("signal_latent", FEATURES)
    batch = a_batch(toy)
    trained = built("signal_latent", (*FEATURES, "encoders.teacher={name: transformer, width: 48, depth: 3, heads: 4}"))
    assert activation_bytes(trained.model, batch) > 1.9 * activation_bytes(toy.model, batch)
