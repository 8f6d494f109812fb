"""For authors of commands: output in the style of omnimask's own commands, and parts of recipes as arguments. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from omnimask.cli.output import messages, say, size, write_json, write_pairs, write_table, write_text
from omnimask.messages.hints import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from omnimask.component import Component
    from omnimask.interfaces import Dataset
    from omnimask.recipe import Recipe

__all__ = [
    "counted",
    "load_component",
    "messages",
    "say",
    "size",
    "token_counter",
    "write_json",
    "write_pairs",
    "write_table",
    "write_text",
]


def load_component(kind: str, arguments: Sequence[str]) -> Component[Any]:
    """Return a validated component from ``name=...`` and ``key=value`` arguments.

    Raises:
        UserError: the arguments are invalid; one message per problem.
    """
    from omnimask.recipe.load_component import load_component

    return load_component(kind, arguments)


def token_counter(recipe: Recipe) -> tuple[str, Callable[[Dataset], NDArray[np.int64] | int]]:
    """Return a digest of how a recipe reads samples, and a function that counts the tokens of each sample of a data set.

    The function returns (N,) counts, or one number if all samples have the same count.

    Args:
        recipe: from ``omnimask.load_recipe``.

    Raises:
        UserError: the recipe cuts long samples into parts, which are listed only when a run begins.
    """
    from omnimask.builder.counting import token_counter

    return token_counter(recipe)
