"""Token fields as read by maskers. L tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context, Tokens

Class = Annotated[int, Field(ge=0)] | str
"""A class of annotated spans: a number or a name."""


def check_field(context: Context, masker: str, field: str) -> None:
    """Raise ``ValueError`` if the tokens of a masker's modality lack a field it reads."""
    for name in context.modalities:
        if field not in context.specs[name].fields:
            known = sorted(context.specs[name].fields) or "none"
            raise ValueError(f"masker {masker} needs the field {field!r}, but the tokens of {name!r} have {known}")


def class_number(context: Context, field: str, given: int | str) -> int:
    """Return the number of a class of the field ``NAME.class``.

    Raises:
        ValueError: the field has no class of this name or number.
    """
    specs = [context.specs[name].fields[f"{field}.class"] for name in context.modalities]
    known = specs[0].names if specs else ()
    if isinstance(given, str):
        if given not in known:
            raise ValueError(f"the field {field!r} has no class {given!r}; classes: {', '.join(known) or 'only numbers'}")
        return known.index(given)
    for spec in specs:
        if spec.classes is not None and given >= spec.classes:
            raise ValueError(f"the field {field!r} has no class {given}; classes are 0 to {spec.classes - 1}")
    return given


def spans_of(tokens: Tokens, fields: Sequence[str], classes: Mapping[str, Sequence[int]]) -> NDArray[np.int64]:
    """Return (L,) index of each token's span in the first field that annotates it, -1 for none.

    Args:
        tokens: with the fields.
        fields: integer fields number their spans, negative for none; in float fields runs of equal values are spans.
        classes: classes to include, by field; the field ``NAME.class`` holds the class of every token.
    """
    span, count = np.full(len(tokens), -1, np.int64), 0
    for field in fields:
        number = _numbers(np.asarray(tokens.fields[field]))
        is_new = (number >= 0) & (span < 0)
        if field in classes:
            is_new &= np.isin(np.asarray(tokens.fields[f"{field}.class"]), classes[field])
        names, index = np.unique(number[is_new], return_inverse=True)
        span[is_new] = index + count
        count += len(names)
    return span


def _numbers(values: NDArray) -> NDArray[np.int64]:
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    changes = np.concatenate([np.zeros(min(len(values), 1), bool), values[1:] != values[:-1]])
    return np.where(np.isnan(values), -1, np.cumsum(changes))
