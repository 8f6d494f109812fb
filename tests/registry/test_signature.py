"""The constructor rule: one context, then keyword-only, annotated options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import Field

from omnimask.registry.signature import options_of

if TYPE_CHECKING:
    from decimal import Decimal


class Good:
    """A component.

    Args:
        ratio: share of masked tokens,
            in [0, 1].
        first, second: two of a kind.

    Raises:
        ValueError: never.
    """

    def __init__(
        self, context: Any, *, ratio: float, first: int = 1, second: int = 2, size: Annotated[int, Field(description="S")] = 3
    ):
        pass


class TwoPositional:
    def __init__(self, context: Any, ratio: float) -> None: ...


class NoContext:
    def __init__(self, *, ratio: float = 0.5) -> None: ...


class Swallows:
    def __init__(self, context: Any, *, ratio: float, **options: Any) -> None: ...


class SwallowsPositional:
    def __init__(self, context: Any, *args: Any) -> None: ...


class Untyped:
    def __init__(self, context: Any, *, ratio=0.5) -> None: ...


class Inherits(dict): ...


class Wired:
    def __init__(self, context: Any, *, weight: float = 1.0) -> None: ...


class Unresolved:
    def __init__(self, context: Any, *, price: Decimal) -> None: ...


def test_options_in_order_with_descriptions() -> None:
    options = options_of(Good)
    assert list(options) == ["ratio", "first", "second", "size"]
    assert options["ratio"].is_required
    assert options["first"].default == 1
    assert [option.description for option in options.values()] == [
        "share of masked tokens, in [0, 1].",
        *["two of a kind."] * 2,
        "S",
    ]


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (TwoPositional, r"2 positional parameters \(context, ratio\)"),
        (NoContext, "0 positional parameters"),
        (Swallows, r"\*\*options would accept misspelled options"),
        (SwallowsPositional, r"\*args would accept"),
        (Untyped, "option 'ratio' has no type annotation"),
        (Inherits, "would accept"),
        (Wired, "option 'weight' has the name of a recipe key"),
        (Unresolved, "annotation of option 'price' cannot be resolved.*TYPE_CHECKING"),
    ],
)
def test_constructors_against_the_rule(cls: type, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options_of(cls, "predictor")
