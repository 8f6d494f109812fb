"""Transport of a batch from a loader worker to the main process, in one buffer of shared memory.

A tensor sent on its own costs the receiver a connection and a file descriptor, whatever its size. In one buffer, a batch costs one
of each, is pinned at once, and is copied to a device at once.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.transport.joint_buffer import joint_buffer, typed_view

T = TypeVar("T")

_Entry: TypeAlias = "tuple[torch.dtype | np.dtype[Any], tuple[int, ...], int]"
"""Data type, shape and first byte of an array. A torch data type makes it a tensor, a NumPy one a host array."""


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """A value whose arrays lie in one buffer.

    ``buffer`` (bytes,) uint8: tensors first, then host arrays, each at a multiple of 64 bytes, then the pickled value without them.
    ``entries`` describe the arrays; the pickled value begins at byte ``outline``.
    """

    buffer: Tensor
    entries: Sequence[_Entry]
    outline: int

    def pin_memory(self) -> Parcel[T]:
        """Return a copy in page-locked memory, for asynchronous copies to a CUDA device."""
        return Parcel(self.buffer.pin_memory(), self.entries, self.outline)

    def open(self) -> T:
        """Return the value. Its arrays are views of the buffer."""
        data: NDArray[np.uint8] = self.buffer.numpy()
        found = [_view(self.buffer, data, entry) for entry in self.entries]
        return _ParcelUnpickler(data[self.outline :].tobytes(), found).load()


def parcel(value: T) -> Parcel[T]:
    """Copy the arrays of a picklable value into one buffer in shared memory. Arrays shared by identity stay shared."""
    stream = io.BytesIO()
    pickler = _ParcelPickler(stream)
    pickler.dump(value)
    is_host = [not isinstance(array, Tensor) for array in pickler.arrays]
    order = np.argsort(is_host, kind="stable").tolist()  # tensors first, so that their range alone is copied to a device
    outline = np.frombuffer(stream.getbuffer(), np.uint8)
    buffer, starts = joint_buffer([*(pickler.arrays[number] for number in order), outline], _shared)
    start_of = dict(zip(order, starts, strict=False))
    entries = [(array.dtype, tuple(array.shape), start_of[number]) for number, array in enumerate(pickler.arrays)]
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


def _view(buffer: Tensor, data: NDArray[np.uint8], entry: _Entry) -> Any:
    dtype, shape, start = entry
    if isinstance(dtype, torch.dtype):
        return typed_view(buffer, start, dtype, shape)
    return np.ndarray(shape, dtype, buffer=data.data, offset=start)


def _shared(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8).share_memory_()
