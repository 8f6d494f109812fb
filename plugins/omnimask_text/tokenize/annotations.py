"""Annotations of spans of characters: validation and alignment with tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import FieldSpec
from omnimask_text.tokenize.scheme import Ints

Kind: TypeAlias = Literal["span", "number"] | Annotated[list[str], Field(min_length=1)]
"""Value of an annotation's spans: nothing, a number, or one of these classes."""

RESERVED = ("special", "word", "sentence", "document", "offset", "text")
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Span:
    """Characters [start, stop); ``value`` is a number or the index of a class, 0 for annotations without values."""

    start: int
    stop: int
    value: float = 0


def check_kinds(kinds: Mapping[str, Kind]) -> None:
    """Raise ``ValueError`` for names or classes unsuitable as token fields."""
    for name, kind in kinds.items():
        if name in RESERVED or not _NAME.fullmatch(name):
            reason = "is a field of every text" if name in RESERVED else "may only contain letters, digits and _"
            raise ValueError(f"annotations: {name!r} {reason}; choose another name")
        if isinstance(kind, list) and len(set(kind)) < len(kind):
            raise ValueError(f"annotations: {name} has a duplicate class: {', '.join(kind)}")


def field_specs(kinds: Mapping[str, Kind]) -> dict[str, FieldSpec]:
    """Return the token fields of annotations."""
    found: dict[str, FieldSpec] = {}
    for name, kind in kinds.items():
        found[name] = FieldSpec("float32" if kind == "number" else "int64")
        if isinstance(kind, list):
            found[f"{name}.class"] = FieldSpec("int64", classes=len(kind), names=tuple(kind))
    return found


def check_spans(name: str, kind: Kind, raw: Any, length: int) -> tuple[Span, ...]:
    """Return validated spans, in their order.

    Args:
        name: of the annotation.
        kind: value of its spans.
        raw: a list of [start, stop] or [start, stop, value].
        length: characters of the text.

    Raises:
        ValueError: a span has another form, exceeds the text, is empty, or overlaps another one; the message names the span.
    """
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise ValueError(f"annotation {name!r} must be a list of spans, not {type(raw).__name__}")
    abouts = [f"annotation {name!r}, span {number} {_shown(item)}" for number, item in enumerate(raw)]
    spans = tuple(_span(about, kind, item, length) for about, item in zip(abouts, raw, strict=True))
    for left, right in pairwise(sorted(range(len(spans)), key=lambda number: spans[number].start)):
        if spans[left].stop > spans[right].start:
            raise ValueError(f"{abouts[right]} overlaps span {left} {_shown(raw[left])}")
    return spans


def _span(about: str, kind: Kind, item: Any, length: int) -> Span:
    size, form = (2, "[start, stop]") if kind == "span" else (3, "[start, stop, value]")
    if not isinstance(item, Sequence) or isinstance(item, str | bytes) or len(item) != size:
        raise ValueError(f"{about} must have the form {form}")
    start, stop = item[:2]
    if not all(isinstance(place, int) and not isinstance(place, bool) for place in (start, stop)):
        raise ValueError(f"{about}: start and stop must be integers (characters)")
    if start >= stop:
        raise ValueError(f"{about} is empty: it starts at {start} and stops before {stop}")
    if start < 0 or stop > length:
        raise ValueError(f"{about} exceeds the text of {length} characters")
    return Span(start, stop, _value(about, kind, item))


def _value(about: str, kind: Kind, item: Sequence[Any]) -> float:
    if kind == "span":
        return 0
    value = item[2]
    if isinstance(kind, list):
        if value not in kind:
            raise ValueError(f"{about}: {value!r} is not one of its classes {', '.join(kind)}")
        return kind.index(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{about}: {value!r} is not a finite number")
    return float(value)


def lay(spans: Sequence[Span], offsets: Ints) -> tuple[Ints, NDArray[np.float64]]:
    """Return (n,) index of the span overlapped by each token, -1 for none, and (n,) its value, NaN for none.

    A token that overlaps several spans belongs to the first. ``offsets`` (n, 2) are the tokens' characters.
    """
    if not spans:
        return np.full(len(offsets), -1), np.full(len(offsets), np.nan)
    order = np.array(sorted(range(len(spans)), key=lambda number: spans[number].start), np.int64)
    starts, stops, values = (np.array([getattr(spans[number], name) for number in order]) for name in ("start", "stop", "value"))
    following = np.searchsorted(stops, offsets[:, 0], side="right")
    nearest = np.minimum(following, len(spans) - 1)
    is_inside = (following < len(spans)) & (starts[nearest] < offsets[:, 1]) & (offsets[:, 0] < offsets[:, 1])
    return np.where(is_inside, order[nearest], -1), np.where(is_inside, values[nearest], np.nan)


def _shown(item: Any) -> str:
    shown = repr(list(item) if isinstance(item, tuple) else item)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
