"""Arrays of Arrow over memory of NumPy and back, without copies. n values.

The library's own conversions (``pyarrow.array``, ``to_numpy``, ``is_valid``) import pandas where it is installed, which takes
longer than everything else that a start does with a small store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def number_array(values: NDArray[Any]) -> Any:
    """Return an array of numbers (n,)."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def bool_array(values: NDArray[np.bool_]) -> Any:
    """Return an array of booleans (n,)."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def text_array(values: Sequence[str | None]) -> Any:
    """Return an array of texts (n,), with null for None."""
    encoded = [b"" if value is None else value.encode("utf-8") for value in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(values)), out=offsets[1:])
    is_text = np.array([value is not None for value in values], bool)
    held = None if is_text.all() else _bits(is_text)
    buffers = [held, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(values), buffers)


def numbers_of(array: Any) -> NDArray[Any]:
    """Return the numbers (n,) of an array without nulls, as a view."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def is_null(array: Any) -> NDArray[np.bool_]:
    """Return whether each value (n,) is null."""
    held = array.buffers()[0]
    if held is None or not array.null_count:
        return np.zeros(len(array), bool)
    bits = np.unpackbits(np.frombuffer(held, np.uint8), count=array.offset + len(array), bitorder="little")
    return bits[array.offset :] == 0


def _bits(values: NDArray[np.bool_]) -> Any:
    return pa.py_buffer(np.packbits(values, bitorder="little"))
