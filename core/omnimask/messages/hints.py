"""Suggestions for misspelled names, and short phrases for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of ``known``, or an empty string if none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def listed(names: Iterable[str]) -> str:
    """Return sorted names separated by commas; ``none`` for no names."""
    return ", ".join(sorted(names)) or "none"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 shard``, ``2,000 shards``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def described(value: object) -> str:
    """Return a value's type for a message about an invalid one: ``None``, ``a list``."""
    return "None" if value is None else f"a {type(value).__name__}"
