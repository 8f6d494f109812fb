"""Features: of the clean view, the same for any split into batches, by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built
from omnimask.data.chunks import read_chunks
from omnimask.errors import UserError
from omnimask.evaluation.features import Pool, backbone, check_pool, clean_pipeline, encode, initial_model
from omnimask.interfaces import Draw, Encoded, FieldSpec, Tokens, TokenSpec
from omnimask.training.devices.precision import Precision

from .conftest import LENGTH, Letters, built_on, random_samples, small_recipe

FP32 = Precision("fp32", torch.device("cpu"))


def features(built: Built, pool: Pool = "mean", budget: int = 64, model: Any = None) -> np.ndarray:
    chunks = read_chunks(clean_pipeline(built, built.dataset), range(len(built.dataset)), budget, {})
    return np.concatenate([encode(model or built.model, chunk.batch, pool, FP32) for chunk in chunks])


@pytest.mark.parametrize("pool", ["mean", "summary", "both", "first"])
@pytest.mark.parametrize("lengths", [(LENGTH, LENGTH), (2, 9)])
def test_features_are_the_same_for_any_split_into_batches(pool: Pool, lengths: tuple[int, int]) -> None:
    built = built_on(random_samples(30, lengths=lengths))
    one_by_one = features(built, pool, 1)
    assert one_by_one.shape == (30, 48 if pool == "both" else 24)
    for budget in (20, 64, 10_000):
        # the worst difference measured is 1.2e-6, from sums in another order; features have size 1
        np.testing.assert_allclose(features(built, pool, budget), one_by_one, rtol=0, atol=5e-6)


def test_nothing_is_hidden_and_nothing_is_random() -> None:
    built = built_on(random_samples(8))
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), range(8), 10_000, {})
    context = chunk.batch.views["main"].context
    assert sorted(context.source.tolist()) == list(range(8 * LENGTH))
    np.testing.assert_array_equal(features(built), features(built))


def test_the_mean_is_over_a_samples_own_tokens() -> None:
    built = built_on(random_samples(5, lengths=(2, 9)))
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), range(5), 10_000, {})
    seen: list[Encoded] = []
    hook = backbone(built.model).encoder.register_forward_hook(lambda module, given, result: seen.append(result))
    found = encode(built.model, chunk.batch, "both", FP32)
    hook.remove()
    (encoded,) = seen
    offsets = encoded.features.layout.offsets
    assert encoded.summary is not None
    by_hand = [encoded.features.data[offsets[i] : offsets[i + 1]].mean(0) for i in range(5)]
    both = torch.cat([torch.stack(by_hand), encoded.summary[:, 0]], dim=1).numpy()
    np.testing.assert_allclose(found, both, atol=1e-6)


class Framed(Letters):
    """The first and the last id frame the others."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=5, fields={"special": FieldSpec("bool")})

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        tokens = super().__call__(raw, draw)
        place = np.arange(len(tokens))
        return dataclasses.replace(tokens, fields={"special": (place == 0) | (place == len(tokens) - 1)})


def test_special_tokens_count_in_no_mean_and_may_be_the_first() -> None:
    ids = {"a": {"values": [3, 0, 1, 2, 4]}, "b": {"values": [3, 1, 4]}, "c": {"values": [3, 4]}}
    built = built_on(ids, small_recipe(Framed))
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), range(3), 10_000, {})
    seen: list[Encoded] = []
    hook = backbone(built.model).encoder.register_forward_hook(lambda module, given, result: seen.append(result))
    mean, first = (encode(built.model, chunk.batch, pool, FP32) for pool in ("mean", "first"))
    hook.remove()
    data = seen[0].features.data.numpy()
    np.testing.assert_allclose(mean, [data[1:4].mean(0), data[6], np.zeros_like(data[0])], atol=1e-6)
    np.testing.assert_array_equal(first, data[[0, 5, 8]])


def test_the_model_keeps_its_mode() -> None:
    built = built_on(random_samples(4))
    for mode in (True, False):
        built.model.train(mode)
        features(built)
        assert built.model.training is mode


def test_the_untrained_model_has_the_weights_that_training_began_with() -> None:
    built = built_on(random_samples(4))
    began = {name: value.clone() for name, value in built.model.state_dict().items()}
    with torch.no_grad():
        for parameter in built.model.parameters():
            parameter.add_(1.0)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = initial_model(built).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(again[name], value) for name, value in began.items())


def test_a_pool_that_the_encoder_cannot_give_is_refused() -> None:
    built = built_on(random_samples(4), small_recipe(summary=0))
    check_pool(built.model, "mean")
    with pytest.raises(UserError, match="--pool summary: this encoder has no summary tokens; use --pool mean"):
        check_pool(built.model, "summary")


def test_unreadable_samples_are_noted() -> None:
    samples = random_samples(6)
    samples["s/002"]["broken"] = True
    built, bad = built_on(samples), dict[int, str]()
    chunks = list(read_chunks(clean_pipeline(built, built.dataset), range(6), 10_000, bad))
    assert [chunk.indices for chunk in chunks] == [(0, 1, 3, 4, 5)]
    assert bad == {2: "ValueError: broken"}
