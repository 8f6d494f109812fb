"""Real tables from scikit-learn with artificially removed cells."""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw
from omnimask_tabular.schema import Cell, Columns, Number, number_column

Table: TypeAlias = Literal["wine", "breast_cancer", "diabetes"]
_CLASS = {"wine": "cultivar", "breast_cancer": "diagnosis"}


class SklearnTable:
    """One of scikit-learn's real tables, with a share of its cells removed.

    The original tables are complete. The removed cells depend only on the row's key, so they are the same everywhere. The gaps are
    artificial; all other numbers are as measured.

    Args:
        table: ``wine``: 178 wines, 13 measurements and the cultivar of each; ``breast_cancer``: 569 biopsies, 30
            measurements and the diagnosis; ``diabetes``: 442 patients, nine measurements, sex, and the progression a year later.
        missing: average share of removed cells.
        class_column: whether the class (cultivar, diagnosis) is a column; otherwise it is only the row's label, for probes.
    """

    def __init__(
        self,
        context: Context,
        *,
        table: Table = "wine",
        missing: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        class_column: bool = True,
    ) -> None:
        self.table: Table = table
        self.missing, self.class_column = missing, class_column
        self.rows = _rows(table)

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, index: int) -> str:
        """Return ``wine/000`` and so on, in scikit-learn's order."""
        return f"{self.table}/{range(len(self))[index]:03d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``tabular``, the row by column with None for removed cells, and ``label`` if the table has classes."""
        row = dict(self.rows[index])
        label = row.get(_CLASS.get(self.table, ""))
        if label is not None and not self.class_column:
            del row[_CLASS[self.table]]
        is_gone = Draw(0, 0, self.key(index)).uniform(len(row), "missing") < self.missing
        cells = {name: None if gone else cell for (name, cell), gone in zip(row.items(), is_gone.tolist(), strict=True)}
        return {"tabular": cells} if label is None else {"tabular": cells, "label": label}

    def fingerprint(self) -> str:
        """Return a digest of all rows and of the options."""
        return blake2b(repr((self.missing, self.class_column, self.rows)).encode(), digest_size=16).hexdigest()


def embedded_columns(table: Table) -> Columns:
    """Return the columns of a table: class and sex as categories, all others as numbers."""
    rows = _rows(table)
    columns: dict[str, Number | tuple[str, ...]] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        is_number = isinstance(values[0], float)
        columns[name] = number_column([float(v) for v in values]) if is_number else tuple(sorted({str(v) for v in values}))  # pyright: ignore[reportArgumentType]
    return columns


@cache
def _rows(table: Table) -> tuple[Mapping[str, Cell], ...]:
    """Return the complete rows, by column."""
    from sklearn import datasets

    load: Any = {"wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer, "diabetes": datasets.load_diabetes}[
        table
    ]
    bunch: Any = load(scaled=False) if table == "diabetes" else load()
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    rows: list[dict[str, Cell]] = [dict(zip(names, values, strict=True)) for values in np.asarray(bunch.data, float).tolist()]
    for row, answer in zip(rows, bunch.target.tolist(), strict=True):
        if table == "diabetes":
            row["sex"] = f"sex {row['sex']:.0f}"  # the source does not document the codes
            row["progression"] = float(answer)
        else:
            row[_CLASS[table]] = str(bunch.target_names[answer]).replace("class_", "cultivar ")
    return tuple(rows)
