"""Suggestions for names that are nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the nearest of ``known``, or an empty string when nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def listed(names: Iterable[str]) -> str:
    """Names in order, separated by commas; ``none`` for no names."""
    return ", ".join(sorted(names)) or "none"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 shard``, ``2,000 shards``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def described(value: object) -> str:
    """What a value is, for a message about a wrong one: ``None``, ``a list``."""
    return "None" if value is None else f"a {type(value).__name__}"
