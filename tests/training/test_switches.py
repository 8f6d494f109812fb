"""Switches leave the process as they found it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omnimask.training.devices.switches import determinism, flushed_denormals


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_gradients_of_repeated_rows_are_the_same_every_time_on_several_threads() -> None:
    """Without the switch, two threads add to the same 16 rows in an order that varies: nearly every repetition differs."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(16, (200_000,), generator=generator)
    weights = torch.randn(200_000, 8, generator=generator)

    def gradient() -> Tensor:
        table = torch.zeros(16, 8, requires_grad=True)
        (table[index] * weights).sum().backward()
        assert table.grad is not None
        return table.grad

    with determinism(False, torch.device("cpu")):
        first = gradient()
        assert all(torch.equal(gradient(), first) for _ in range(10))


@pytest.mark.parametrize(
    ("is_wanted", "device", "held", "warns"),
    [(False, "cpu", True, True), (True, "cuda", True, False), (False, "cuda", False, False)],
)
def test_deterministic_kernels_are_held_on_the_cpu_and_where_they_are_wanted(
    is_wanted: bool, device: str, held: bool, warns: bool
) -> None:
    fill = torch.utils.deterministic.fill_uninitialized_memory
    with determinism(is_wanted, torch.device(device)):
        assert torch.are_deterministic_algorithms_enabled() == held
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warns
        assert torch.utils.deterministic.fill_uninitialized_memory == (fill and not held)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == fill


def test_denormals_are_flushed_inside_the_block_only() -> None:
    def is_flushed() -> bool:
        return bool(torch.tensor(5e-324, dtype=torch.float64).mul(1) == 0)

    before = is_flushed()
    with flushed_denormals():
        assert is_flushed()
        with flushed_denormals():
            assert is_flushed()
        assert is_flushed()
    assert is_flushed() == before
