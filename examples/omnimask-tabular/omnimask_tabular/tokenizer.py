"""Tokenizer of table rows. L cells of a row, C columns."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec
from omnimask_tabular.embedded import Table, embedded_columns
from omnimask_tabular.schema import HIDDEN, MISSING, Categories, Cell, Number, Schema

FIRST, SIZE = "first", "size"
"""Fields of a cell: its column's first category, counted over all columns, and number of categories (0 for numbers)."""


class ColumnTokenizer:
    """Tokenizer of rows: one token per cell, with its column as position. Columns absent from a row have no token.

    A missing value is a special token, never hidden and never a target.

    Args:
        columns: types by name, in order: ``{mean: ..., std: ...}`` for numbers, a list of texts for categories (``omnimask init
            FOLDER`` writes them); or the name of one of scikit-learn's tables: wine, breast_cancer, diabetes.
    """

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "tabular.sklearn"
    renderer: ClassVar[str | None] = "tabular.page"

    def __init__(self, context: Context, *, columns: Table | dict[str, Number | Categories] = "wine") -> None:
        self.schema = Schema(embedded_columns(columns) if isinstance(columns, str) else columns)

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options for smoke runs: the embedded table instead of the user's."""
        return {} if isinstance(options["columns"], str) else {"columns": "wine"}

    @property
    def spec(self) -> TokenSpec:
        """Tokens of width (2,): a scaled number, and the id of the cell's kind (see :mod:`omnimask_tabular.schema`)."""
        fields = {
            "special": FieldSpec("bool"),
            FIRST: FieldSpec("int64", classes=len(self.schema.categories)),
            SIZE: FieldSpec("int64"),
        }
        return TokenSpec(width=(2,), extent=(len(self.schema.names),), fields=fields)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return the tokens of a mapping from column names to numbers, texts, or None for missing values.

        Raises:
            ValueError: the value is not such a mapping, has none of the columns, only missing values, or a value of the wrong type.
        """
        present = self._present(raw)
        names = [self.schema.names[column] for column in present]
        cells = [self.schema.encode(name, raw[name]) for name in names]
        is_missing = np.array([kind == MISSING for _, kind in cells], bool)
        if is_missing.all():
            raise ValueError(f"all values of the row are missing; its columns are {sorted(raw)}")
        first, size = np.array([self.schema.spans[name] for name in names], np.int64).T
        fields = {"special": is_missing, FIRST: first, SIZE: size}
        return Tokens(np.array(cells, np.float32), np.array(present, np.float32)[:, None], fields)

    def _present(self, raw: Any) -> list[int]:
        """Return the numbers of a row's columns."""
        if not isinstance(raw, Mapping):
            raise ValueError(f"a row must be a mapping from columns to values, not {type(raw).__name__}")
        present = [column for column, name in enumerate(self.schema.names) if name in raw]
        if not present:
            raise ValueError(f"the row has none of the columns {', '.join(self.schema.names)}; it has {sorted(map(str, raw))}")
        return present

    def decode(self, tokens: Tokens) -> dict[str, Cell]:
        """Return the row, without hidden cells and with None for missing values."""
        columns, content = np.asarray(tokens.positions)[:, 0].astype(int), np.asarray(tokens.content)
        kinds = np.rint(content[:, 1]).astype(int)
        return {
            self.schema.names[column]: self.schema.decode(self.schema.names[column], number, kind)
            for column, number, kind in zip(columns.tolist(), content[:, 0].tolist(), kinds.tolist(), strict=True)
            if kind != HIDDEN
        }

    def count(self, raw: Any) -> int | None:
        """Return the number of cells of a row, or None before it is read, because rows may lack columns."""
        return None if raw is None else len(self._present(raw))


def num_categories(spec: TokenSpec, asking: str) -> int:
    """Return the number of categories of all columns.

    Raises:
        ValueError: the tokens are not those of ``tabular.columns``.
    """
    if spec.width != (2,) or FIRST not in spec.fields:
        raise ValueError(f"{asking} requires the tokens of tabular.columns; use this tokenizer")
    return spec.fields[FIRST].classes or 0
