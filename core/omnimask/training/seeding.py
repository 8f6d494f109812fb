"""Torch's global generators, seeded by the loop alone; no other module of the project seeds them."""

from __future__ import annotations

from hashlib import blake2b

import torch


def seed_torch(*parts: int | str) -> None:
    """Seeds the generators of all devices from what names the moment: ``seed_torch(seed, step, rank)``."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)
