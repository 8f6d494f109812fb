"""Transport of a batch from a loader worker to the main process, in one buffer of shared memory.

A tensor sent on its own costs the receiver a connection and a file descriptor, whatever its size. In one buffer, a batch costs one
of each, is pinned at once, and is copied to a device at once.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from omnimask.transport.joint_buffer import aligned, joint_buffer, typed_view
from omnimask.transport.narrow import TensorKind, narrowed

T = TypeVar("T")


@dataclass(frozen=True)
class _TensorEntry:
    """A tensor: what it is, and its elements as they travel, from byte ``start`` on in the type ``travels``."""

    kind: TensorKind
    travels: torch.dtype
    start: int


@dataclass(frozen=True)
class _HostEntry:
    """A host array that begins at byte ``start``."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """A value whose arrays lie in one buffer.

    Tensors travel without what the receiver can restore, see :mod:`omnimask.transport.narrow`. The value that :meth:`open` returns
    is equal to the one that was sent, but a tensor of equal elements has strides of 0.

    ``buffer`` (bytes,) uint8: tensors first, then host arrays, each at a multiple of 64 bytes, then the pickled value without them.
    ``entries`` describe the arrays; the pickled value begins at byte ``outline``.
    """

    buffer: Tensor
    entries: Sequence[_TensorEntry | _HostEntry]
    outline: int

    def pin_memory(self) -> T:
        """Return the value with its tensors in one buffer of page-locked memory, for asynchronous copies to a CUDA device."""
        return self._opened(lambda entry: True, lambda size: torch.empty(size, dtype=torch.uint8, pin_memory=True))

    def open(self) -> T:
        """Return the value. Its arrays are views of this buffer, and of another one for tensors that travelled in another type."""
        return self._opened(lambda entry: entry.travels != entry.kind.dtype, lambda size: torch.empty(size, dtype=torch.uint8))

    def _opened(self, is_copied: Callable[[_TensorEntry], bool], allocate: Callable[[int], Tensor]) -> T:
        """Return the value, with some of the tensors in a new buffer."""
        found = [self._elements(entry) for entry in self.entries]
        copied = [
            (number, entry) for number, entry in enumerate(self.entries) if isinstance(entry, _TensorEntry) and is_copied(entry)
        ]
        ends = np.cumsum([0, *(aligned(entry.kind.stored_bytes) for _, entry in copied)]).tolist()
        buffer = allocate(ends[-1])
        for (number, entry), start in zip(copied, ends[:-1], strict=True):
            found[number] = typed_view(buffer, start, entry.kind.dtype, entry.kind.stored_shape).copy_(found[number])
        arrays = [
            entry.kind.of_stored(elements) if isinstance(entry, _TensorEntry) else elements
            for entry, elements in zip(self.entries, found, strict=True)
        ]
        return _ParcelUnpickler(self.buffer.numpy()[self.outline :].tobytes(), arrays).load()

    def _elements(self, entry: _TensorEntry | _HostEntry) -> Any:
        """Return a host array, or the elements of a tensor as they travel."""
        if isinstance(entry, _TensorEntry):
            return typed_view(self.buffer, entry.start, entry.travels, entry.kind.stored_shape)
        return np.ndarray(entry.shape, entry.dtype, buffer=self.buffer.numpy().data, offset=entry.start)


def parcel(value: T) -> Parcel[T]:
    """Copy the arrays of a picklable value into one buffer in shared memory. Arrays shared by identity stay shared."""
    stream = io.BytesIO()
    pickler = _ParcelPickler(stream)
    pickler.dump(value)
    is_host = [not isinstance(array, Tensor) for array in pickler.arrays]
    order = np.argsort(is_host, kind="stable").tolist()  # tensors first, so that their range alone is copied to a device
    outline = np.frombuffer(stream.getbuffer(), np.uint8)
    sent: list[tuple[Any, TensorKind | None]] = [
        narrowed(array) if isinstance(array, Tensor) else (array, None) for array in pickler.arrays
    ]
    buffer, starts = joint_buffer([*(sent[number][0] for number in order), outline], _shared)
    start_of = dict(zip(order, starts, strict=False))
    entries = [
        _HostEntry(array.dtype, tuple(array.shape), start_of[number])
        if kind is None
        else _TensorEntry(kind, array.dtype, start_of[number])
        for number, (array, kind) in enumerate(sent)
    ]
    return Parcel(buffer, entries, starts[-1])


class _ParcelPickler(pickle.Pickler):
    """Pickler that collects the arrays of a value, and writes their numbers instead."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.arrays: list[Any] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        kind = type(obj)
        if (kind is not np.ndarray and kind is not Tensor) or not _is_plain(obj):
            return None
        number = self._numbers.setdefault(id(obj), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(obj)
        return number


class _ParcelUnpickler(pickle.Unpickler):
    """Unpickler of what a worker of this process wrote, with the arrays by number."""

    def __init__(self, data: bytes, arrays: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Any:
        return self._arrays[pid]


def _is_plain(array: Any) -> bool:
    """Return whether an array is fully described by data type, shape and bytes. Others are pickled as usual."""
    if isinstance(array, Tensor):
        return array.device.type == "cpu" and array.layout is torch.strided and not array.requires_grad and array.is_contiguous()
    return not array.dtype.hasobject and array.dtype.itemsize > 0 and array.flags.c_contiguous


def _shared(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8).share_memory_()
