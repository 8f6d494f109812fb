"""How a modality's raw value is found in a data set's sample: one field of it, or several as a mapping. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from omnimask.interfaces import Decoder

FieldNames: TypeAlias = str | tuple[str, ...]
"""A field's name, or several; the first of several is the one that decides whether the modality is there."""


def names_of(field: FieldNames) -> tuple[str, ...]:
    """The fields by name, the main one first."""
    return (field,) if isinstance(field, str) else field


def raw_value(sample: Mapping[str, Any], field: FieldNames) -> Any:
    """The raw value of a sample: that of the one field, or a mapping of all of several; None where the main one is absent, null
    or the empty text.

    Raises:
        ValueError: the main field is there, and another is not (one that is there may be None).
    """
    main = sample.get(names_of(field)[0])
    if main is None or (isinstance(main, str) and not main):
        return None
    if isinstance(field, str):
        return main
    if missing := [name for name in field if name not in sample]:
        raise ValueError(f"it has no field {' or '.join(map(repr, missing))} beside {field[0]!r}; it has {sorted(sample)}")
    return {name: sample[name] for name in field}


def decoded(raw: Any, decoder: Decoder | None) -> Any:
    """The raw value with all that is ``bytes`` in it decoded."""
    if decoder is None:
        return raw
    if isinstance(raw, bytes):
        return decoder(raw)
    if isinstance(raw, Mapping):
        return {name: decoded(value, decoder) for name, value in cast(Mapping[str, Any], raw).items()}
    return raw
