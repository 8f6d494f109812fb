"""Seeding of torch's global generators. The loop alone seeds them during a run."""

from __future__ import annotations

from hashlib import blake2b

import torch


def seed_torch(device: torch.device, *parts: int | str) -> None:
    """Seed the generators of the host and of ``device`` from the given parts: ``seed_torch(device, seed, step, rank)``.

    ``torch.manual_seed`` is avoided: for every unused device type it queues a call with a traceback, which costs more than a small
    step and is never released.
    """
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little") >> 1
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)
