"""Digest and memory of decoded raw values: texts, arrays, and nested lists and mappings of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, cast

import numpy as np


def digest_of(value: Any) -> int:
    """Return a 32-bit digest of a decoded raw value."""
    digest = blake2b(digest_size=4)
    _update(digest, value)
    return int.from_bytes(digest.digest(), "little")


def _update(digest: blake2b, value: Any) -> None:
    if isinstance(value, str):  # first, because texts are many and short
        digest.update(b"%d " % len(value) + value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, Mapping):
        for name, item in cast(Mapping[str, Any], value).items():
            digest.update(f"{name!r}:".encode())
            _update(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(b"[%d]" % len(cast(list[Any], value)))
        for item in cast(list[Any], value):
            _update(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    else:
        digest.update(repr(value).encode("utf-8", "surrogatepass"))


def memory_of(value: Any) -> int:
    """Return the approximate memory of a value in bytes."""
    if isinstance(value, str):
        return sys.getsizeof(value)
    if isinstance(value, Mapping):
        return sum(memory_of(item) for item in cast(Mapping[str, Any], value).values())
    if isinstance(value, list | tuple):
        return sum(memory_of(item) for item in cast(list[Any], value)) + sys.getsizeof(value)
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)
