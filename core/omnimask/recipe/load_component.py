"""Standalone components on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omnimask.component import Component
from omnimask.errors import UserError
from omnimask.recipe.options import Resolver
from omnimask.recipe.overrides import apply
from omnimask.recipe.problems import Problems
from omnimask.recipe.yaml_text import parse
from omnimask.registry import discover


def load_component(kind: str, options: Sequence[str]) -> Component[Any]:
    """Return a validated component from ``name=...`` and ``key=value`` arguments.

    Raises:
        UserError: with one message for each problem.
    """
    problems = Problems()
    document = apply(parse("{}", "command line"), options, problems)
    problems.check()
    component = Resolver(document, discover(), problems).component(kind, document.data, ())
    problems.check()
    if component is None:
        raise UserError(f"missing {kind}; give name=...")
    return component
