"""Sizes that do not fit into memory are refused before anything of that size is allocated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from omnimask.builder.allocation import LARGE, TooLarge, available_memory, build_within, limited_memory
from omnimask.builder.build import build
from omnimask.component import named
from omnimask.errors import UserError
from omnimask.testing import synthetic_recipe


def test_large_sizes_are_added_up_before_anything_is_allocated() -> None:
    side = 1 << 15  # 4 GiB a matrix, of which two fit and three do not
    made: list[torch.device] = []

    def make() -> nn.ModuleList:
        layers = nn.ModuleList()
        for _ in range(3):
            layers.append(nn.Linear(side, side, bias=False))
            made.append(layers[-1].weight.device)
        return layers

    with pytest.raises(TooLarge, match=r"more than 12\.9 GB; 10\.0 GB are available"):
        build_within(make, 10 * 10**9)
    assert {device.type for device in made} == {"meta"}


def test_many_tensors_are_added_up_before_the_rest_is_filled() -> None:
    made: list[torch.device] = []

    def make() -> nn.ModuleList:
        layers = nn.ModuleList()
        for _ in range(2000):
            layers.append(nn.Linear(1 << 11, 1 << 11, bias=False))  # 16 MiB each
            made.append(layers[-1].weight.device)
        return layers

    with pytest.raises(TooLarge, match=r"more than 10\.\d GB; 10\.0 GB are available"):
        build_within(make, 10 * 10**9)
    assert sum(device.type == "cpu" for device in made) <= 64 < sum(device.type == "meta" for device in made)


def test_what_fits_is_built_as_ever() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(300, LARGE // 1000)

    expected = make()
    found = build_within(make)
    assert torch.equal(found.weight, expected.weight) and found.weight.device.type == "cpu"


def test_ranges_and_numbers_of_tensors_count_too() -> None:
    with pytest.raises(TooLarge, match="GB"), limited_memory():
        torch.arange(10**13)
    with pytest.raises(TooLarge, match=r"more than 20,000 tensors"):
        build_within(lambda: [torch.zeros(1) for _ in range(50_000)])


def test_what_the_allocator_refuses_is_too_large() -> None:
    def make() -> torch.Tensor:
        torch.randn(LARGE // 4)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ...")

    with pytest.raises(TooLarge, match="GB of free memory"):
        build_within(make)
    with pytest.raises(RuntimeError, match="another"):
        build_within(lambda: (_ for _ in ()).throw(RuntimeError("another")))


def test_memory_is_known() -> None:
    assert 10**8 < available_memory() < 10**15


@pytest.mark.parametrize("options", [{"width": 10**9}, {"width": 2 * 10**6, "depth": 10**6}])
def test_an_encoder_that_is_too_large_is_named(options: dict[str, int]) -> None:
    encoder = named("encoder", "transformer", **{"width": 32, "depth": 1, "heads": 2, **options})
    with pytest.raises(UserError, match="encoder transformer: its tensors need more than"):
        build(synthetic_recipe(encoder=encoder))


def test_a_model_that_the_allocator_refuses_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> nn.Module:
        torch.randn(LARGE // 4)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12800000000 bytes")

    monkeypatch.setattr("omnimask.builder.build.build_model", refuse)
    with pytest.raises(UserError, match="the model does not fit in memory: its tensors need more than"):
        build(synthetic_recipe())
