"""One file of a token store: the tokens of a range of samples in Arrow's IPC format, one row for each sample of a run. R rows.

Columns: ``key`` of the whole sample; ``error``, the reason why a sample is unreadable, else null; ``fields``, other fields of the
sample as JSON, else null; and by modality a list of structs, one struct a token, null if the modality is absent. A struct has the
token's ``content``, its ``position`` unless positions count up from 0, and its fields. Integers have the smallest type that holds
them. A member that is equal everywhere is in the schema's metadata instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from omnimask.interfaces import PartColumns, Tokens, TokenSpec
from omnimask.token_store.arrow_arrays import bool_array, is_null, number_array, numbers_of, text_array

_META = b"omnimask"
CONTENT, POSITION = "content", "position"
FIELD = "field."
"""Prefix of the struct members that are fields of tokens."""


def file_name(number: int) -> str:
    """Return the name of the file of a range."""
    return f"tokens-{number:06d}.arrow"


@dataclass
class RowList:
    """Rows of one file while it is made. Lists of R, and ``runs`` of consecutive rows.

    A run is one row with its tokens by modality, none of an absent one or an unreadable sample; or rows of one modality with their
    tokens as columns.
    """

    keys: list[str] = field(default_factory=list[str])
    errors: list[str | None] = field(default_factory=list["str | None"])
    fields: list[str | None] = field(default_factory=list["str | None"])
    runs: list[Mapping[str, Tokens] | Mapping[str, PartColumns]] = field(default_factory=list[Any])

    def add(self, key: str, tokens: Mapping[str, Tokens] | None, fields: Mapping[str, Any], error: str | None = None) -> None:
        """Append one row."""
        self.keys.append(key)
        self.errors.append(error)
        self.fields.append(_json(fields))
        self.runs.append(tokens or {})

    def add_columns(self, keys: Sequence[str], modality: str, columns: PartColumns, fields: Sequence[Mapping[str, Any]]) -> None:
        """Append the rows of the parts of several samples, with the keys and the fields of the samples."""
        for key, own, count in zip(keys, map(_json, fields), columns.parts.tolist(), strict=True):
            self.keys += [key] * count
            self.fields += [own] * count
        self.errors += [None] * len(columns.lengths)
        self.runs.append({modality: columns})


def _json(fields: Mapping[str, Any]) -> str | None:
    return json.dumps(fields, ensure_ascii=False) if fields else None


def write_rows(stream: BinaryIO, rows: RowList, specs: Mapping[str, TokenSpec]) -> None:
    """Write one file.

    Args:
        stream: of the file.
        rows: as many as it holds.
        specs: of the modalities.
    """
    meta: dict[str, Any] = {}
    columns: dict[str, Any] = {
        "key": text_array(rows.keys),
        "error": text_array(rows.errors),
        "fields": text_array(rows.fields),
    }
    for name, spec in specs.items():
        columns[f"modality.{name}"], meta[name] = _packed([run.get(name) for run in rows.runs], spec)
    batch = pa.record_batch(columns)
    schema = batch.schema.with_metadata({_META: json.dumps(meta).encode()})
    with pa.ipc.new_file(stream, schema) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _packed(runs: Sequence[Tokens | PartColumns | None], spec: TokenSpec) -> tuple[Any, dict[str, Any]]:
    """Return the column of one modality (R,), and the constant members by name."""
    held = [tokens for tokens in runs if tokens is not None]
    each = [_lengths(run) for run in runs]
    lengths = np.concatenate([np.zeros(0, np.int64), *each])
    is_absent = np.repeat(np.array([run is None for run in runs], bool), list(map(len, each)))
    members = {CONTENT: _joined([tokens.content for tokens in held], spec.width or (), spec.dtype if spec.width else "int64")}
    positions = _joined([tokens.positions for tokens in held], (spec.axes,), "float32")
    if not _counts_up(positions, lengths):
        members[POSITION] = positions
    for name, one in spec.fields.items():
        if one.arity == 1:
            members[FIELD + name] = _joined([tokens.fields[name] for tokens in held], one.shape, one.dtype)
    constants = {name: value for name, values in members.items() if (value := _constant(values)) is not None}
    arrays = {name: _arrow(values) for name, values in members.items() if name not in constants}
    arrays = arrays or {CONTENT: _arrow(members[CONTENT])}
    structs = pa.StructArray.from_arrays(list(arrays.values()), list(arrays))
    offsets = number_array(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
    return pa.LargeListArray.from_arrays(offsets, structs, mask=bool_array(is_absent)), constants


def _lengths(run: Tokens | PartColumns | None) -> NDArray[np.int64]:
    """Return the number of tokens of each row of a run."""
    return run.lengths if isinstance(run, PartColumns) else np.array([0 if run is None else len(run)], np.int64)


def _joined(parts: Sequence[Any], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *shape), dtype), *(np.asarray(part, dtype) for part in parts)])


def _counts_up(positions: NDArray[Any], lengths: NDArray[np.int64]) -> bool:
    if positions.shape[1] != 1:
        return False
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return bool(np.array_equal(positions[:, 0], (np.arange(len(positions)) - starts).astype(np.float32)))


def _constant(values: NDArray[Any]) -> Any:
    """Return the scalar that all values equal, or None."""
    if not values.size or not bool((values == values.flat[0]).all()):
        return None
    return values.flat[0].item()


def _arrow(values: NDArray[Any]) -> Any:
    if values.dtype.kind in "iu":
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        values = values.astype(
            np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)) if low < 0 else np.min_scalar_type(high)
        )
    elif values.dtype.kind == "b":
        values = values.astype(np.uint8)
    flat = number_array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def keys_of(stream: Any, name: str) -> list[str]:
    """Return the keys of the rows of a file (R,). Only their bytes are read.

    Args:
        stream: seekable, of the file.
        name: of the file in messages.

    Raises:
        ValueError: the file is damaged.
        OSError: of the stream.
    """
    try:
        options = pa.ipc.IpcReadOptions(included_fields=[0], use_threads=False)
        batch = pa.ipc.open_file(pa.PythonFile(stream, "r"), options=options).get_batch(0)
        return batch.column("key").to_pylist()
    except (pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error


class RangeFile:
    """Rows of one file, mapped from disk.

    Args:
        path: of the file.
        specs: of the modalities.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path, specs: Mapping[str, TokenSpec]) -> None:
        self.path, self.specs = path, specs
        try:
            with pa.memory_map(str(path)) as source:
                reader = pa.ipc.open_file(source)
                self._batch = reader.get_batch(0)
            self._constants: Mapping[str, Mapping[str, Any]] = json.loads(self._batch.schema.metadata[_META])
        except (pa.ArrowException, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def __len__(self) -> int:
        return self._batch.num_rows

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the whole samples (R,)."""
        return self._batch.column("key").to_pylist()

    @cached_property
    def is_bad(self) -> NDArray[np.bool_]:
        """Whether the sample of each row is unreadable (R,)."""
        return ~is_null(self._batch.column("error"))

    def error(self, row: int) -> str | None:
        """Return why the sample of a row is unreadable, or None."""
        return self._batch.column("error")[row].as_py()

    def fields(self, row: int) -> Mapping[str, Any]:
        """Return the other fields of a row's sample by name."""
        text = self._batch.column("fields")[row].as_py()
        return {} if text is None else json.loads(text)

    def tokens(self, row: int) -> dict[str, Tokens]:
        """Return the tokens of the modalities that are present in a row."""
        return {name: columns.row(row) for name, columns in self.columns.items() if columns.is_present(row)}

    @cached_property
    def columns(self) -> Mapping[str, ModalityColumns]:
        """Mapped columns of the modalities."""
        return {
            name: ModalityColumns(self._batch.column(f"modality.{name}"), spec, self._constants[name])
            for name, spec in self.specs.items()
        }


class ModalityColumns:
    """Mapped columns of one modality."""

    def __init__(self, column: Any, spec: TokenSpec, constants: Mapping[str, Any]) -> None:
        structs = column.values
        self._is_absent = is_null(column) if column.null_count else None
        self.offsets: NDArray[np.int64] = numbers_of(column.offsets)
        stored = {structs.type.field(number).name: structs.field(number) for number in range(structs.type.num_fields)}
        self._axes = spec.axes
        self._members = {
            name: _StructColumn(stored.get(name), *shape, constants.get(name)) for name, shape in members_of(spec).items()
        }
        self.has_positions = POSITION in stored or POSITION in constants

    def is_present(self, row: int) -> bool:
        """Return whether a row has this modality."""
        return self._is_absent is None or not self._is_absent[row]

    def member(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return a member of the tokens ``[start, stop)``, in the type of the file."""
        return self._members[name].stored(start, stop)

    def constant(self, name: str) -> Any:
        """Return the value of a member that is equal everywhere, else None."""
        return self._members[name].constant

    def row(self, row: int) -> Tokens:
        """Return the tokens of one row."""
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        found = {name: member(start, stop) for name, member in self._members.items() if name != POSITION or self.has_positions}
        content = found.pop(CONTENT)
        positions = found.pop(POSITION) if self.has_positions else np.arange(stop - start, dtype=np.float32)[:, None]
        return Tokens(content, positions, {name.removeprefix(FIELD): values for name, values in found.items()})


def members_of(spec: TokenSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape and type of each member of a token's struct."""
    fields = {FIELD + name: (one.shape, np.dtype(one.dtype)) for name, one in spec.fields.items() if one.arity == 1}
    content = ((), np.dtype(np.int64)) if spec.width is None else (spec.width, np.dtype(spec.dtype))
    return {CONTENT: content, POSITION: ((spec.axes,), np.dtype(np.float32)), **fields}


class _StructColumn:
    """One member of all tokens of a file: mapped values, or a constant."""

    def __init__(self, values: Any, shape: tuple[int, ...], dtype: np.dtype[Any], constant: Any) -> None:
        self._shape, self._dtype, self.constant = shape, dtype, constant
        self._values: NDArray[Any] | None = None
        if values is not None:
            self._values = numbers_of(values.flatten() if shape else values).reshape(-1, *shape)

    def stored(self, start: int, stop: int) -> NDArray[Any]:
        """Return the values of the tokens ``[start, stop)``, in the type of the file."""
        if self._values is None:
            return np.full((stop - start, *self._shape), self.constant, self._dtype)
        return self._values[start:stop]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Return the values of the tokens ``[start, stop)``, in the specified type."""
        return self.stored(start, stop).astype(self._dtype)
