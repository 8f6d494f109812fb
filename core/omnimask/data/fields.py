"""Access to a modality's raw value in a data set's sample: one field, or a mapping of several. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from omnimask.interfaces import Decoder

FieldNames: TypeAlias = str | tuple[str, ...]
"""Name of a field, or of several. The first one decides whether the modality is present."""


def names_of(field: FieldNames) -> tuple[str, ...]:
    """Return the field names, the main one first."""
    return (field,) if isinstance(field, str) else field


def raw_value(sample: Mapping[str, Any], field: FieldNames) -> Any:
    """Return the raw value of a sample: one field, or a mapping of several.

    Return None if the main field is absent, null or an empty string.

    Raises:
        ValueError: the main field is present and another one is missing (a present field may be None).
    """
    main = sample.get(names_of(field)[0])
    if main is None or (isinstance(main, str) and not main):
        return None
    if isinstance(field, str):
        return main
    if missing := [name for name in field if name not in sample]:
        raise ValueError(f"it has no field {' or '.join(map(repr, missing))} beside {field[0]!r}; it has {sorted(sample)}")
    return {name: sample[name] for name in field}


def required_value(sample: Mapping[str, Any], field: FieldNames) -> Any:
    """Return the raw value of a sample like :func:`raw_value`.

    Raises:
        ValueError: it is absent or empty, or one of the other fields is missing.
    """
    raw = raw_value(sample, field)
    if raw is None:
        name = names_of(field)[0]
        if name in sample:
            raise ValueError(f"its field {name!r} is empty")
        raise ValueError(f"it has no field {name!r}; it has {sorted(sample)}")
    return raw


def decoded(raw: Any, decoder: Decoder | None) -> Any:
    """Decode all ``bytes`` in a raw value."""
    if decoder is None or isinstance(raw, str):
        return raw
    if isinstance(raw, bytes):
        return decoder(raw)
    if isinstance(raw, Mapping):
        return {name: decoded(value, decoder) for name, value in cast(Mapping[str, Any], raw).items()}
    return raw
