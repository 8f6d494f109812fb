from __future__ import annotations

import torch

from omnimask.training.seeding import seed_torch

CPU = torch.device("cpu")


def test_equal_parts_give_equal_numbers_and_others_do_not() -> None:
    drawn = []
    for parts in ((7, "step", 1, 0), (7, "step", 1, 0), (7, "step", 2, 0), (8, "step", 1, 0), (7, "step", 1, 1)):
        seed_torch(CPU, *parts)
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[1]
    assert len({tuple(numbers) for numbers in drawn}) == 4


def test_nothing_piles_up_for_devices_that_are_not_used() -> None:
    before = len(torch.cuda._queued_calls)
    for step in range(10):
        seed_torch(CPU, 7, step)
    assert len(torch.cuda._queued_calls) == before
