"""Columns of a data set in a folder of the cache: memory-mapped ``.npy`` files, all of them complete or the folder absent."""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from omnimask.cache import temporary_beside
from omnimask.data.scans import Columns

logger = logging.getLogger(__name__)

LIST = "columns.json"
"""Name of the list of a folder's columns with their checksums."""
_BLOCK = 1 << 24
"""Bytes of a column to check at once."""


def compact(values: Any) -> NDArray[Any]:
    """Return nonnegative integers in the smallest unsigned type."""
    array = np.asarray(values, np.int64)
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def join_columns(parts: Callable[[], Iterator[Columns]], folder: Path, what: str) -> Columns:
    """Concatenate columns of unsigned integers in the smallest common type, without holding them in memory.

    Args:
        parts: called several times; yields the columns of one part after another, all with the same names.
        folder: to write; an existing one is replaced.
        what: description of the columns in messages.

    Returns:
        The memory-mapped columns; in memory if the folder cannot be written.
    """
    shapes = _shapes(parts())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(folder)
        temporary.mkdir()
        try:
            columns = {name: open_memmap(temporary / f"{name}.npy", "w+", dtype, shape) for name, (dtype, shape) in shapes.items()}
            _fill(columns, parts())
            for column in columns.values():
                column.flush()
            (temporary / LIST).write_text(json.dumps({name: _checksum(column) for name, column in columns.items()}))
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        logger.warning("%s are not cached: %s", what, error)
        columns = {name: np.empty(shape, dtype) for name, (dtype, shape) in shapes.items()}
        _fill(columns, parts())
        return columns
    found = read_columns(folder, what)
    return columns if found is None else found


def read_columns(folder: Path, what: str) -> Columns | None:
    """Return the memory-mapped columns of a folder, or None if it is missing. A damaged one gives None with a warning."""
    try:
        listed = cast(Mapping[str, int], json.loads((folder / LIST).read_text()))
        return mapped_columns(listed, lambda name, read: read(folder / f"{name}.npy"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, AttributeError) as error:
        logger.warning("cached %s %s cannot be read (%s) and are recomputed", what, folder, error)
        return None


def mapped_columns(listed: Mapping[str, int], reading: Callable[[str, Callable[[Path], NDArray[Any]]], NDArray[Any]]) -> Columns:
    """Return memory-mapped columns.

    Args:
        listed: checksum of each column by name.
        reading: called with the name of a column and a function that maps a file and compares its checksum; returns its array.

    Raises:
        ValueError, EOFError: a file is damaged.
        OSError: a file cannot be read.
    """

    def reader(name: str) -> Callable[[Path], NDArray[Any]]:
        def read(file: Path) -> NDArray[Any]:
            # A plain array over the mapped file: operations on numpy's class of mapped arrays cost more.
            column = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
            if _checksum(column) != listed[name]:
                raise ValueError(f"wrong checksum of {name}")
            return column

        return read

    return {name: reading(name, reader(name)) for name in listed}


def _shapes(parts: Iterator[Columns]) -> dict[str, tuple[np.dtype[Any], tuple[int]]]:
    """Return the smallest type and the length of each joined column."""
    largest: dict[str, int] = {}
    lengths: dict[str, int] = {}
    for part in parts:
        for name, column in part.items():
            largest[name] = max(largest.get(name, 0), int(column.max(initial=0)))
            lengths[name] = lengths.get(name, 0) + len(column)
    return {name: (np.min_scalar_type(largest[name]), (length,)) for name, length in lengths.items()}


def _fill(columns: Mapping[str, NDArray[Any]], parts: Iterator[Columns]) -> None:
    starts = dict.fromkeys(columns, 0)
    for part in parts:
        for name, column in part.items():
            columns[name][starts[name] : starts[name] + len(column)] = column
            starts[name] += len(column)


def _checksum(column: NDArray[Any]) -> int:
    """Return the CRC-32 of a column's type, length and bytes."""
    found = zlib.crc32(f"{column.dtype.str}{column.shape}".encode())
    data = column.view(np.uint8).data
    for start in range(0, len(data), _BLOCK):
        found = zlib.crc32(data[start : start + _BLOCK], found)
    return found
