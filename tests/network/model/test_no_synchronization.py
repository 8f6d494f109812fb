"""A step never waits for the device: nothing on the host depends on values that only the device knows.

Batches and weights are moved to the device ``meta``, which has shapes and no values. Whatever would make the host wait for a GPU
fails there: reading a number, a boolean index, ``nonzero``. Checks of values are made on the CPU only, so they are not made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import omnimask
from omnimask.interfaces import Encoded, Layout, Packed, Stream
from omnimask.network.attention import attend
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.model import MaskedModel
from omnimask.packed import to_device
from omnimask.streams import no_targets
from omnimask.training.devices.precision import Precision
from omnimask.training.optim.schedules import Schedule
from omnimask.training.step import StepRunner

META = torch.device("meta")
RECIPES = [
    "adapters/timm",
    "adapters/transformers",
    "image/crossmae",
    "image/maskfeat",
    "image/modern",
    "image/mp3",
    "image/native",
    "image/selfie",
    "image/simmim",
    "text/bitimebert",
    "text/c-rts",
    "text/drbert",
    "text/ernie-gram",
    "text/modernbert",
    "text/mosaicbert",
    "text/prop",
    "text/retromae",
    "text/roberta",
    "text/starbucks",
]
"""Together they have every encoder, predictor and target of the shipped recipes."""


class OneWay(TorchDispatchMode):
    """Refuses copies for which the host waits; the device refuses what needs values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].device != torch.device(kwargs.get("device") or args[0].device):
            assert args[0].device.type == "cpu", "the host reads a tensor of the device"
            assert kwargs.get("non_blocking"), f"the host waits for the copy of a tensor of shape {tuple(args[0].shape)}"
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def _meta_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned memory and autocast exist for accelerators only."""
    of_device: Callable[..., bool] = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: of_device(*device) if "meta" not in device else False)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)


def runner(model: MaskedModel) -> StepRunner:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule: Schedule = lambda step, steps: 1.0  # noqa: E731
    return StepRunner(model, optimizer, schedule, Precision("fp32", META), steps=1, clip=None, ema=None, seed=0, device=META)


CONVOLUTIONS = {
    "image/mae": ["predictors=[{name: conv_decoder, target: {name: patch}}]"],
    "text/quickstart": [
        "modalities.text.corruptor={name: drop}",
        "predictors=[{name: conv_decoder, kernel: 9, groups: 1, fill: learned, target: {name: ids}}]",
    ],
}
"""A predictor of no shipped recipe, on a grid and along sequences."""


@pytest.mark.parametrize(("name", "changes"), [*((name, []) for name in RECIPES), *CONVOLUTIONS.items()])
def test_a_step_reads_nothing_from_the_device(name: str, changes: list[str]) -> None:
    built = omnimask.build(omnimask.load_recipe(name, ["device=cpu", *changes], smoke=True))
    batch = next(iter(built.validation_batches()))
    model = built.model.train().to(META)
    with OneWay():
        loss, terms = runner(model).accumulate([batch, batch])
        model.eval()(to_device(batch, META, non_blocking=True), model.counts(batch))
    assert loss.device == META and terms
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.where(x > 0),
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: torch.equal(x, x + 1),
        lambda x: x.cpu(),
        lambda x: torch.repeat_interleave(x, (x > 0).long()),
        lambda x: x + torch.ones(3).to(x.device),
    ],
)
def test_what_waits_is_noticed(waits: Callable[[Tensor], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), OneWay():
        waits(torch.zeros(3, device=META))


@pytest.mark.parametrize("reach", [None, 3])
def test_a_mixture_of_prefixes_is_planned_on_the_host(reach: int | None) -> None:
    layout = Layout(np.array([9, 7, 12]), np.arange(3), "ranked", prefix=np.array([9, 0, 4]))
    plan = AttentionPlan(layout).within(reach)
    with OneWay():
        query, key, value = (torch.zeros(28, 2, 8, device=META, requires_grad=True) for _ in range(3))
        attend(query, key, value, plan).sum().backward()
        plan.block_mask(META)
    assert query.grad is not None


def encoded(source: list[int], features: Tensor) -> Encoded:
    count = len(source)
    zeros, slots = torch.zeros(count, dtype=torch.int64), torch.tensor(source)
    layout = Layout(np.array([count]), np.zeros(1, np.int64))
    stream = Stream(
        slots, zeros, zeros, zeros[:, None].float(), zeros.bool(), zeros, zeros, layout, no_targets(), np.zeros(1), np.zeros(1)
    )
    return Encoded(Packed(features, layout), stream)


def test_features_in_the_store() -> None:
    """Tokens 0, 1 and 3 have one slot, two and three, token 2 has none; one slot was inserted."""
    features = torch.tensor([[1.0], [10.0], [20.0], [99.0], [3.0], [4.0], [8.0]], dtype=torch.float64, requires_grad=True)
    store = encoded([0, 1, 1, -1, 3, 3, 3], features).in_store(5)
    assert store.tolist() == [[1.0], [15.0], [0.0], [5.0], [0.0]]
    store.sum().backward()
    assert features.grad is not None
    assert features.grad.flatten().tolist() == pytest.approx([1, 0.5, 0.5, 0, 1 / 3, 1 / 3, 1 / 3])


def test_features_in_the_store_need_no_number_from_the_device() -> None:
    one = encoded([0, 1, -1], torch.zeros(3, 1))
    with OneWay():
        assert to_device(one, META, non_blocking=True).in_store(4).shape == (4, 1)
