"""Switches leave the process as they found it."""

from __future__ import annotations

import torch

from omnimask.training.devices.switches import flushed_denormals


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
