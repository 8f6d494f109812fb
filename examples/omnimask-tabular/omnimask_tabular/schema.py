"""Schema of a table: columns of numbers or of categories. C columns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Cell: TypeAlias = float | int | str | None
"""Value of a cell; None if it is missing."""


class Number(BaseModel):
    """Column of numbers; the network reads ``(value - mean) / std``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Annotated[float, Field(description="subtracted from each value")] = 0.0
    std: Annotated[float, Field(gt=0, description="divisor of the difference")] = 1.0


Categories: TypeAlias = tuple[str, ...]
Columns: TypeAlias = Mapping[str, Number | Categories]

HIDDEN, NUMBER, MISSING, FIRST_CATEGORY = 0, 1, 2, 3
"""Kinds of cells as ids. The categories of all columns follow, column by column."""


@dataclass(frozen=True)
class Schema:
    """Columns of a table, by name and in order.

    Raises:
        ValueError: the table lacks columns, or a column of categories has fewer than two or a duplicate.
    """

    columns: Columns

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("a table needs columns; for example {age: {mean: 40, std: 12}, smoker: ['no', 'yes']}")
        for name, column in self.columns.items():
            if not isinstance(column, Number) and (len(column) < 2 or len(set(column)) < len(column)):
                raise ValueError(f"column {name!r} needs at least two different categories; found {list(column)}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Categories of all columns. The first has the id :data:`FIRST_CATEGORY`."""
        return tuple(value for column in self.columns.values() if not isinstance(column, Number) for value in column)

    @cached_property
    def spans(self) -> Mapping[str, tuple[int, int]]:
        """First category, counted over all columns, and number of categories of each column; (0, 0) for numbers."""
        found: dict[str, tuple[int, int]] = {}
        count = 0
        for name, column in self.columns.items():
            size = 0 if isinstance(column, Number) else len(column)
            found[name] = (count if size else 0, size)
            count += size
        return found

    def encode(self, name: str, cell: Cell) -> tuple[float, int]:
        """Return a cell as a scaled number and an id.

        Raises:
            ValueError: the cell is neither a number nor one of the column's categories, as the column requires.
        """
        if is_missing(cell):
            return 0.0, MISSING
        column = self.columns[name]
        if isinstance(column, Number):
            return (_finite(cell, name) - column.mean) / column.std, NUMBER
        if str(cell) not in column:
            known = ", ".join(column[:10]) + (", ..." if len(column) > 10 else "")
            raise ValueError(f"column {name!r} has no category {cell!r}; it has {known}")
        return 0.0, FIRST_CATEGORY + self.spans[name][0] + column.index(str(cell))

    def decode(self, name: str, number: float, kind: int) -> Cell:
        """Return the cell of a scaled number and an id, the inverse of :meth:`encode`."""
        column = self.columns[name]
        if kind == MISSING:
            return None
        return number * column.std + column.mean if isinstance(column, Number) else self.categories[kind - FIRST_CATEGORY]


def is_missing(cell: Cell) -> bool:
    """Return True for None and NaN."""
    return cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell))


def as_number(cell: Cell) -> float | None:
    """Return the finite number of a cell or of its text, or None."""
    try:
        value = float(cell)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _finite(cell: Cell, name: str) -> float:
    value = as_number(cell)
    if value is None or isinstance(cell, bool):
        raise ValueError(f"{cell!r} in column {name!r} is not a finite number")
    return value


def infer(names: Sequence[str], rows: Sequence[Mapping[str, Cell]], most_categories: int = 50) -> tuple[Columns, Mapping[str, str]]:
    """Return the inferred columns of a table, and the reason for each column left out.

    A column of numbers has more than ten different ones. Other columns with at least two and at most ``most_categories`` different
    values are categories. The rest is left out: constant columns, and columns with too many texts (names, free text).
    """
    columns: dict[str, Number | Categories] = {}
    left_out: dict[str, str] = {}
    for name in names:
        cells = [row[name] for row in rows if not is_missing(row[name])]
        numbers = [as_number(cell) for cell in cells]
        different = sorted({str(cell) for cell in cells})
        if None not in numbers and len(set(numbers)) > 10:
            columns[name] = number_column([value for value in numbers if value is not None])
        elif 2 <= len(different) <= most_categories:
            columns[name] = tuple(different)
        else:
            left_out[name] = "one value" if len(different) == 1 else f"{len(different)} different texts" if different else "empty"
    return columns, left_out


def number_column(values: Sequence[float]) -> Number:
    """Return mean and standard deviation of a column, rounded to six digits."""
    std = float(np.std(values))
    return Number(mean=float(f"{np.mean(values):.6g}"), std=float(f"{std:.6g}") if std > 0 else 1.0)
