"""Token fields as read by maskers. L tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.ragged import numbered
from omnimask.interfaces import Context, TokenColumns, Tokens

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


def spans_of_each(tokens: TokenColumns, fields: Sequence[str], classes: Mapping[str, Sequence[int]]) -> NDArray[np.int64]:
    """Return (P,) index of each token's span in its sample; see :func:`spans_of`."""
    owner = tokens.owner
    span, count = np.full(tokens.num_tokens, -1, np.int64), np.zeros(tokens.num_samples, np.int64)
    for field in fields:
        number = _numbers(np.asarray(tokens.fields[field]), tokens.offsets)
        is_new = (number >= 0) & (span < 0)
        if field in classes:
            is_new &= np.isin(np.asarray(tokens.fields[f"{field}.class"]), classes[field])
        found = numbered(number[is_new], owner[is_new], tokens.num_samples)
        span[is_new] = found.number + count[owner[is_new]]
        count += found.count
    return span


def stretches_each(is_in: NDArray[np.bool_], tokens: TokenColumns) -> NDArray[np.int64]:
    """Return (P,) index in its sample of each token's run inside the region, -1 outside."""
    follows = np.concatenate([np.zeros(1, bool), is_in[:-1]])[: len(is_in)]
    follows[tokens.offsets[:-1][tokens.lengths > 0]] = False
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_in & ~follows)])
    before = np.repeat(begins[tokens.offsets[:-1]], tokens.lengths)
    return np.where(is_in, begins[1:] - before - 1, -1)


def _numbers(values: NDArray, offsets: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return the span numbers of a field's values, those of runs for float fields; ``offsets`` (B + 1,) of several samples."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    # Runs may go on counting over several samples, but a sample begins one.
    changes = np.concatenate([np.zeros(min(len(values), 1), bool), values[1:] != values[:-1]])
    if offsets is not None:
        changes[offsets[1:-1][offsets[1:-1] < len(values)]] = True
    return np.where(np.isnan(values), -1, np.cumsum(changes))
