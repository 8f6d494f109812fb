"""Conversion of Arrow values to Python values, including those unsupported by Arrow itself."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def row_of(table: pa.Table, number: int) -> dict[str, Any]:
    """Return the values of one row by column. Dates and times out of Python's range are returned as text.

    Raises:
        ValueError: a value cannot be read, for example a string with invalid UTF-8. The message names its column.
    """
    return {name: _value(name, table.column(place), number) for place, name in enumerate(table.column_names)}


def _value(name: str, column: pa.ChunkedArray, number: int) -> Any:
    try:
        return column[number].as_py()
    except (OverflowError, ValueError) as error:
        if pa.types.is_temporal(column.type):
            return _as_text(column, number)
        raise ValueError(f"column {name!r}: {error}") from error


def _as_text(column: pa.ChunkedArray, number: int) -> str:
    try:
        return str(column.slice(number, 1).cast(pa.string())[0].as_py())
    except pa.ArrowInvalid:  # out of range for Arrow's text form
        return str(column.slice(number, 1).cast(pa.int64())[0].as_py())
