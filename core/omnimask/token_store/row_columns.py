"""Tokens of many rows of a store as columns, without arrays of each row's own. B rows, P tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Draws, TokenColumns, TokenSpec
from omnimask.packed import ranges
from omnimask.token_store.range_file import CONTENT, FIELD, POSITION, ModalityColumns, members_of


def joined_rows(rows: Sequence[tuple[ModalityColumns, int]], spec: TokenSpec, draws: Draws) -> TokenColumns:
    """Concatenate the tokens of rows, which may lie in several files.

    Args:
        rows: columns of a file, and the number of a row there, (B).
        spec: of the modality.
        draws: of the rows.
    """
    spans = [(columns, int(columns.offsets[row]), int(columns.offsets[row + 1])) for columns, row in rows]
    lengths = np.array([stop - start for _, start, stop in spans], np.int64)
    files = list({id(columns): columns for columns, _ in rows}.values())
    found: dict[str, NDArray[Any]] = {}
    for name, (shape, dtype) in members_of(spec).items():
        if name == POSITION and not any(columns.has_positions for columns in files):
            found[name] = ranges(np.zeros_like(lengths), lengths).astype(np.float32)[:, None]
            continue
        constants = [columns.constant(name) for columns in files]
        if constants and constants[0] is not None and all(value == constants[0] for value in constants):
            found[name] = np.full((int(lengths.sum()), *shape), constants[0], dtype)
            continue
        parts = [_part(columns, name, start, stop) for columns, start, stop in spans]
        found[name] = np.concatenate([np.zeros((0, *shape), dtype), *parts], dtype=dtype, casting="unsafe")
    content, positions = found.pop(CONTENT), found.pop(POSITION)
    fields = {name.removeprefix(FIELD): values for name, values in found.items()}
    return TokenColumns(content, positions, lengths, draws, fields)


def _part(columns: ModalityColumns, name: str, start: int, stop: int) -> NDArray[Any]:
    if name == POSITION and not columns.has_positions:
        return np.arange(stop - start, dtype=np.float32)[:, None]
    return columns.member(name, start, stop)
