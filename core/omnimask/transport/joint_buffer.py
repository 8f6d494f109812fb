"""Arrays in one buffer: one allocation, one file of shared memory, and one copy to a device for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64
"""Multiple of bytes at which every array of a joint buffer begins: that of torch's own allocations, and of the widest loads."""


def joint_buffer(arrays: Sequence[Any], allocate: Callable[[int], Tensor]) -> tuple[Tensor, list[int]]:
    """Copy arrays into one buffer. Return it with the first byte of every array.

    Args:
        arrays: NumPy arrays without objects, and CPU tensors.
        allocate: returns a (bytes,) uint8 tensor of the given size.
    """
    parts = [_bytes_of(array) for array in arrays]
    ends = np.cumsum([0, *(aligned(len(part)) for part in parts)])
    buffer, starts = allocate(int(ends[-1])), ends[:-1].tolist()
    data: NDArray[np.uint8] = buffer.numpy()
    for part, start in zip(parts, starts, strict=True):
        data[start : start + len(part)] = part
    return buffer, starts


def typed_view(buffer: Tensor, start: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return the contiguous tensor that begins at byte ``start`` of a buffer, the storage of any tensor."""
    view: Any = torch.empty(0, dtype=dtype, device=buffer.device)
    return view.set_(buffer.untyped_storage(), start // dtype.itemsize, tuple(shape))


class JointCopies:
    """Copies of host buffers on another device.

    A buffer is copied if several of the given tensors lie in it and cover most of the bytes between the first and the last.

    Args:
        tensors: distinct tensors of any device.
        device: where to copy.
        non_blocking: whether to return before the copies are complete; the buffers must be page-locked.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device | str, *, non_blocking: bool) -> None:
        by_storage: dict[int, list[Tensor]] = {}
        if torch.device(device).type != "cpu":
            for tensor in tensors:
                if tensor.device.type == "cpu":
                    by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
        self._copies: dict[int, tuple[Tensor, int]] = {}
        for storage, found in by_storage.items():
            first, stop = min(map(_start, found)), max(_start(tensor) + _extent(tensor) for tensor in found)
            first -= first % ALIGNMENT  # a multiple of every item's size
            is_plain = all((tensor.is_contiguous() or _repeats(tensor)) and not tensor.requires_grad for tensor in found)
            if is_plain and len(found) > 1 and 0 < stop - first <= 2 * sum(aligned(_extent(tensor)) for tensor in found):
                whole = typed_view(found[0], first, torch.uint8, (stop - first,))
                self._copies[storage] = whole.to(device, non_blocking=non_blocking), first

    def find(self, tensor: Tensor) -> Tensor | None:
        """Return the copy of one of the tensors, a view; None if its buffer was not copied."""
        if not self._copies or (found := self._copies.get(tensor.untyped_storage().data_ptr())) is None:
            return None
        buffer, first = found
        if _repeats(tensor):
            return typed_view(buffer, _start(tensor) - first, tensor.dtype, (1,)).expand(tensor.shape)
        return typed_view(buffer, _start(tensor) - first, tensor.dtype, tensor.shape)


def _repeats(tensor: Tensor) -> bool:
    """Return whether a tensor repeats one element in memory."""
    return tensor.numel() > 1 and not any(tensor.stride())


def _extent(tensor: Tensor) -> int:
    """Return the bytes in memory of a contiguous tensor, or of one that repeats one element."""
    return tensor.element_size() if _repeats(tensor) else tensor.nbytes


def _start(tensor: Tensor) -> int:
    return int(tensor.storage_offset()) * tensor.element_size()


def aligned(size: int) -> int:
    """Return the number of bytes from the beginning of an array of ``size`` bytes to that of the next."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _bytes_of(array: Any) -> NDArray[np.uint8]:
    if isinstance(array, Tensor):
        array = array.detach().contiguous()
        return typed_view(array, _start(array), torch.uint8, (array.nbytes,)).numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
