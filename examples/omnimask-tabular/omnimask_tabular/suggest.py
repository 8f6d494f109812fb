"""Suggester for folders with a table. Column types are inferred and written into the recipe, where users can correct them."""

import json
from collections.abc import Mapping
from pathlib import Path

from omnimask.interfaces import Context, Suggestion
from omnimask_tabular.data import cell, read_rows
from omnimask_tabular.schema import Columns, Number, infer

_TEMPLATE = """\
# Masked cells of {name}, written by `omnimask init`.
omnimask: 1
modalities:
  tabular:
    tokenizer:
      name: tabular.columns
      # Inferred from {rows} rows: columns with more than ten different numbers are numbers, others with up to fifty different
      # values are categories. Correct mistakes: list numeric codes as categories, such as ['1', '2', '3'].
      columns:
{columns}
    embedding: {{name: tabular.cell}}
    masker: {{name: random, ratio: 0.5}}  # of the cells with a value
    corruptor: {{name: mask_token}}
encoder: {{name: transformer, width: {width}, depth: 4, heads: 4, summary: 1, position: {{name: learned}}}}
predictors:
  - {{name: in_place, target: {{name: tabular.cell}}}}
data:
  name: tabular.csv
  path: {path}
{key}  validation: {validation}  # share of the rows held out
train:
  steps: {steps}
  batch_tokens: {batch_tokens}  # {batch} rows x {num_columns} cells
  optimizer: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
  schedule: {{name: cosine, warmup: {warmup}}}  # a tenth of the steps
  validate_every: {every}
  checkpoint_every: {every}
"""


class SuggestTable:
    """Suggester of a recipe for the largest CSV file of a folder: masked cells of its numbers and categories."""

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, folder: Path) -> Suggestion | None:
        """Return a suggestion, or None if the folder has no CSV file.

        Raises:
            ValueError: the largest CSV file is not a table, or none of its columns can be used.
        """
        files = sorted(folder.glob("*.csv"), key=lambda file: (-file.stat().st_size, file.name))
        if not files:
            return None
        names, texts = read_rows(files[0])
        rows = [{name: cell(text) for name, text in zip(names, row, strict=True)} for row in texts]
        columns, left_out = infer(names, rows)
        if not columns:
            raise ValueError(f"{files[0]}: no column holds numbers or a few categories: {dict(left_out)}")
        missing = sum(value is None for row in rows for name, value in row.items() if name in columns)
        numbers = sum(isinstance(column, Number) for column in columns.values())
        summary = {
            "table": f"{files[0].name}, {len(rows):,} rows",
            "columns": f"{numbers} of numbers, {len(columns) - numbers} of categories, {len(left_out)} left out",
            "missing": f"{missing / (len(rows) * len(columns)):.1%} of the cells",
        }
        key = next((name for name in left_out if len({row[name] for row in rows} - {None}) == len(rows)), None)
        return Suggestion("tabular", len(files), summary, recipe(files[0], len(rows), columns, left_out, key))


def recipe(path: Path, rows: int, columns: Columns, left_out: Mapping[str, str], key: str | None) -> str:
    """Return the recipe's text. ``key`` is the column with the rows' names, or None."""
    batch, steps = max(1, min(128, rows)), 500 if rows < 2000 else 2000 if rows < 50_000 else 10_000
    listed = [f"        {json.dumps(name)}: {_shown(column)}" for name, column in columns.items()]
    listed += [f"        # {json.dumps(name)} is left out: {why}" for name, why in left_out.items()]
    return _TEMPLATE.format(
        name=path.name,
        path=json.dumps(str(path)),
        key=f"  key_column: {json.dumps(key)}  # names the rows\n" if key is not None else "",
        rows=f"{rows:,}",
        columns="\n".join(listed),
        width=64 if rows < 10_000 else 256,
        validation=0.2 if rows < 1000 else 0.1 if rows < 10_000 else 0.05,
        steps=steps,
        warmup=steps // 10,
        every=steps // 10,
        batch=batch,
        num_columns=len(columns),
        batch_tokens=batch * len(columns),
    )


def _shown(column: Number | tuple[str, ...]) -> str:
    if isinstance(column, Number):
        return f"{{mean: {column.mean:g}, std: {column.std:g}}}"
    return json.dumps(list(column), ensure_ascii=False)
