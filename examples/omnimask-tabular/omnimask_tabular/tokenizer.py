"""Rows as cells. L cells of a row, C columns."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec
from omnimask_tabular.embedded import Table, embedded_columns
from omnimask_tabular.schema import HIDDEN, MISSING, Categories, Cell, Number, Schema

FIRST, SIZE = "first", "size"
"""Fields of a cell: its column's first category, counted over all columns, and how many the column has (0: numbers)."""


class ColumnTokenizer:
    """Every cell of a row is a token whose position is its column; a column that a row does not have gives none.

    A cell that is truly missing is a token that says so. It can be neither hidden nor asked for.

    Args:
        columns: by name and in order, what each holds: ``{mean: ..., std: ...}`` for numbers, a list of texts for categories
            (``omnimask init FOLDER`` writes them); or the name of one of scikit-learn's tables: wine, breast_cancer, diabetes.
    """

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "tabular.sklearn"
    renderer: ClassVar[str | None] = "tabular.page"

    def __init__(self, context: Context, *, columns: Table | dict[str, Number | Categories] = "wine") -> None:
        self.schema = Schema(embedded_columns(columns) if isinstance(columns, str) else columns)

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """A table of the user's gives way to the embedded one."""
        return {} if isinstance(options["columns"], str) else {"columns": "wine"}

    @property
    def spec(self) -> TokenSpec:
        """(2,): a scaled number, and an id that says what the cell is (see :mod:`omnimask_tabular.schema`)."""
        fields = {
            "special": FieldSpec("bool"),
            FIRST: FieldSpec("int64", classes=len(self.schema.categories)),
            SIZE: FieldSpec("int64"),
        }
        return TokenSpec(width=(2,), extent=(len(self.schema.names),), fields=fields)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Tokens of a mapping from columns' names to numbers, texts, or None where a value is missing.

        Raises:
            ValueError: it is something else, has none of the columns, nothing but missing values, or a value of another kind.
        """
        present = self._present(raw)
        names = [self.schema.names[column] for column in present]
        cells = [self.schema.encode(name, raw[name]) for name in names]
        is_missing = np.array([kind == MISSING for _, kind in cells], bool)
        if is_missing.all():
            raise ValueError(f"no cell of the row holds a value; its columns are {sorted(raw)}")
        first, size = np.array([self.schema.spans[name] for name in names], np.int64).T
        fields = {"special": is_missing, FIRST: first, SIZE: size}
        return Tokens(np.array(cells, np.float32), np.array(present, np.float32)[:, None], fields)

    def _present(self, raw: Any) -> list[int]:
        """Numbers of the columns that a row has."""
        if not isinstance(raw, Mapping):
            raise ValueError(f"a row is a mapping from columns to values, not {type(raw).__name__}")
        present = [column for column, name in enumerate(self.schema.names) if name in raw]
        if not present:
            raise ValueError(f"the row has none of the columns {', '.join(self.schema.names)}; it has {sorted(map(str, raw))}")
        return present

    def decode(self, tokens: Tokens) -> dict[str, Cell]:
        """The row again: no key where a cell is hidden, None where a value is missing."""
        columns, content = np.asarray(tokens.positions)[:, 0].astype(int), np.asarray(tokens.content)
        kinds = np.rint(content[:, 1]).astype(int)
        return {
            self.schema.names[column]: self.schema.decode(self.schema.names[column], number, kind)
            for column, number, kind in zip(columns.tolist(), content[:, 0].tolist(), kinds.tolist(), strict=True)
            if kind != HIDDEN
        }

    def count(self, raw: Any) -> int | None:
        """Cells of a row; not known before it is read, since rows may lack columns."""
        return None if raw is None else len(self._present(raw))


def num_categories(spec: TokenSpec, asking: str) -> int:
    """Categories of all columns.

    Raises:
        ValueError: the tokens are not those of ``tabular.columns``.
    """
    if spec.width != (2,) or FIRST not in spec.fields:
        raise ValueError(f"{asking} reads the tokens of tabular.columns, and these are of another tokenizer")
    return spec.fields[FIRST].classes or 0
