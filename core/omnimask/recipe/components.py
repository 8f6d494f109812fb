"""The components of a recipe, and the values of their options."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from omnimask.component import Component


def components_of(value: Any) -> Iterator[Component[Any]]:
    """Yield every component in a recipe (or a part of one), including nested ones."""
    if isinstance(value, Component):
        yield value
        yield from components_of(value.options)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from components_of([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(components_of, value.values()))
    elif isinstance(value, (list, tuple)):
        yield from itertools.chain.from_iterable(map(components_of, value))
    elif isinstance(fields := getattr(type(value), "model_fields", None), Mapping):
        yield from components_of([getattr(value, name) for name in fields])


def texts_of(options: Any) -> Iterator[str]:
    """Yield every text among the values of a component's options, including those of nested components."""
    if isinstance(options, str):
        yield options
    elif isinstance(options, Component):
        yield from texts_of(options.options)
    elif isinstance(options, Mapping):
        yield from itertools.chain.from_iterable(map(texts_of, options.values()))
    elif isinstance(options, (list, tuple)):
        yield from itertools.chain.from_iterable(map(texts_of, options))
