"""Check for numbers that YAML allows but computations don't support."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from omnimask.errors import UserError
from omnimask.recipe.config import Recipe
from omnimask.recipe.document import KeyPath, dotted
from omnimask.recipe.yaml_text import parse

LARGEST = 2**63
"""Upper limit of integers, which are counts or sizes. Seeds are unlimited."""
LARGEST_FLOAT = 3.4028234663852886e38
"""Largest number of float32, the dtype of losses and weights."""


def check_numbers(recipe: Recipe) -> None:
    """Reject integers of 64 bits and more, NaN, infinity, and numbers beyond float32.

    Raises:
        UserError: with one message for each key.
    """
    problems: list[str] = []
    for path, value in _numbers(parse(recipe.to_yaml(), "recipe").data, ()):
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{recipe.name}: {dotted(path)}: must be a finite number (got {value})")
        elif isinstance(value, float) and abs(value) > LARGEST_FLOAT:
            problems.append(f"{recipe.name}: {dotted(path)}: must be at most 3.4e38, float32's largest number (got {value})")
        elif isinstance(value, int) and abs(value) >= LARGEST and path != ("seed",):
            problems.append(f"{recipe.name}: {dotted(path)}: integer too large; at most 63 bits")
    if problems:
        raise UserError(*problems)


def _numbers(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int | float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, index))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value
