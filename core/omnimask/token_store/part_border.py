"""Run-time check of a tokenizer's columns of many parts, as :mod:`omnimask.data.border` checks the tokens of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omnimask.data.border import Breach, TokenBorder, check_range, refuse
from omnimask.data.pipeline import ModalityPipeline
from omnimask.interfaces import PartColumns, Tokens
from omnimask.messages.hints import described


def checked_columns(reader: ModalityPipeline, columns: Any, keys: Sequence[str]) -> PartColumns:
    """Return the parts of samples in the types of the specification.

    Args:
        reader: of the modality.
        columns: result of the tokenizer.
        keys: of the samples, at least one.

    Raises:
        BrokenContract: types, shapes or counts differ from the specification.
    """
    try:
        return _checked(columns, len(keys), TokenBorder(reader.tokenizer.spec))
    except Breach as breach:
        whose = f"{keys[0]} and {len(keys) - 1} more" if len(keys) > 1 else keys[0]
        raise refuse(f"{reader.origin}, tokenize_columns", breach, whose) from None


def _checked(value: Any, num_values: int, border: TokenBorder) -> PartColumns:
    if not isinstance(value, PartColumns):
        raise Breach(f"it must return PartColumns, not {described(value)}")
    num_parts = np.size(value.lengths)
    for name, count in (("parts", num_values), ("start", num_parts), ("stop", num_parts), ("lengths", num_parts)):
        array = getattr(value, name)
        if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (count,):
            raise Breach(f"{name} must be an array of int64 of shape ({count},), not {np.asarray(array).dtype} {np.shape(array)}")
    for name, counts, total in (("parts", value.parts, num_parts), ("lengths", value.lengths, len(value.positions))):
        check_range(counts, 0, None, name)
        if counts.sum() != total:
            raise Breach(f"{name} must add up to {total}, not {counts.sum()}")
    border(Tokens(value.content, value.positions, value.fields))
    return value
