"""Operations on packed sequences, which are concatenated without padding and described by a :class:`Layout`.

T slots, S sequences, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import AttentionKind, Layout, Packed
from omnimask.interfaces.ragged import ranges as ranges
from omnimask.transport.joint_buffer import JointCopies, joint_buffer, typed_view

T = TypeVar("T")


def group_by_parent(layout: Layout, num_parents: int) -> Layout:
    """Merge the adjacent sequences of each parent into one sequence per parent, for cross-attention."""
    if np.any(np.diff(layout.parent) < 0):
        raise ValueError("sequences of one parent must be adjacent, in the order of their parents")
    lengths = np.bincount(layout.parent, weights=layout.lengths, minlength=num_parents).astype(np.int64)
    return Layout(lengths, np.arange(num_parents, dtype=np.int64))


def interleave(parts: Sequence[Layout]) -> tuple[Layout, NDArray[np.int64]]:
    """Join sequence i of all parts into one sequence.

    Returns the joint layout, and (T,) gather indices into the concatenated parts.
    """
    count = parts[0].num_sequences
    if any(part.num_sequences != count for part in parts):
        raise ValueError(f"parts have {[part.num_sequences for part in parts]} sequences; they must agree")
    base = np.cumsum([0, *(part.num_slots for part in parts[:-1])])
    # (S, parts) start of each piece in the concatenated parts; row by row this is the joint order.
    starts = np.stack([part.offsets[:-1] + b for part, b in zip(parts, base, strict=True)], axis=1)
    lengths = np.stack([part.lengths for part in parts], axis=1)
    order = ranges(starts.reshape(-1), lengths.reshape(-1))
    kinds: set[AttentionKind] = {part.attention for part in parts}
    attention, prefix = (kinds.pop(), None) if len(kinds) == 1 else ("ranked", _chained_prefix(parts))
    return Layout(lengths.sum(axis=1), parts[0].parent, attention, prefix=prefix), order


def _chained_prefix(parts: Sequence[Layout]) -> NDArray[np.int64] | None:
    """Return the prefixes (S,) of sequences made of the parts' sequences: full ones first, causal ones behind. None otherwise."""
    prefix = np.zeros(parts[0].num_sequences, np.int64)
    is_full = np.ones(parts[0].num_sequences, bool)  # so far
    for part in parts:
        own = part.prefixes
        if own is None or np.any(~is_full & (own > 1)):
            return None
        prefix = np.where(is_full, prefix + own, prefix)
        is_full = is_full & (own == part.lengths)
    return prefix


def joint_attention(layouts: Sequence[Layout]) -> tuple[AttentionKind, NDArray[np.int64] | None]:
    """Return ``attention`` and ``prefix`` of a layout with the sequences of several layouts."""
    # A sequence of a single slot is full and causal alike.
    kinds: set[AttentionKind] = {layout.attention for layout in layouts if layout.lengths.max(initial=0) > 1}
    if len(kinds) < 2 and "ranked" not in kinds:
        return kinds.pop() if kinds else "full", None
    prefixes = [layout.lengths if layout.lengths.max(initial=0) <= 1 else layout.prefixes for layout in layouts]
    known = [prefix for prefix in prefixes if prefix is not None]
    if len(known) < len(prefixes):
        return "ranked", None
    lengths = np.concatenate([layout.lengths for layout in layouts])
    return "ranked", np.where(lengths > 1, np.concatenate(known), lengths)


def follows_prefix(layout: Layout, rank: NDArray[np.int64], block: NDArray[np.int64]) -> bool:
    """Return whether ranks and blocks (T,) show what ``layout.prefix`` declares."""
    assert layout.prefix is not None
    place = ranges(np.zeros_like(layout.lengths), layout.lengths)
    is_prefix = place < np.repeat(layout.prefix, layout.lengths)
    # Between each slot and the one before it, except at the beginning of a sequence.
    is_inside, step = place[1:] > 0, np.diff(rank)
    is_right = np.where(is_prefix[1:], (step == 0) & (np.diff(block) == 0), step > 0)
    return bool(is_right[is_inside].all())


def dense(packed: Packed, value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pad to (S, longest, ...) for modules with dense inputs. Also return (S, longest), True at real slots."""
    layout = packed.layout
    longest = int(layout.lengths.max(initial=0))
    is_real = np.arange(longest)[None, :] < layout.lengths[:, None]
    # Real slots of the flattened (S * longest) rows, in packed order.
    place = index_tensor(np.flatnonzero(is_real), packed.data.device)
    flat = packed.data.new_full((layout.num_sequences * longest, *packed.data.shape[1:]), value)
    padded = flat.index_copy(0, place, packed.data).unflatten(0, (layout.num_sequences, longest))
    return padded, index_tensor(is_real, packed.data.device)


def from_dense(padded: Tensor, layout: Layout) -> Packed:
    """Drop the padding of (S, longest, ...), the inverse of :func:`dense`."""
    is_real = np.arange(padded.shape[1])[None, :] < layout.lengths[:, None]
    place = index_tensor(np.flatnonzero(is_real), padded.device)
    return Packed(padded.flatten(0, 1)[place], layout)


def index_tensor(index: NDArray[Any], device: torch.device) -> Tensor:
    """Copy a host index, or another array, to the device without synchronizing."""
    tensor = torch.from_numpy(np.ascontiguousarray(index))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def map_arrays(value: T, function: Callable[[Any], Any], kinds: tuple[type, ...]) -> T:
    """Apply ``function`` to every array of the given types in nested frozen dataclasses, mappings and tuples.

    Layouts and host fields are kept.
    """
    if isinstance(value, kinds):
        return function(value)
    if value is None or isinstance(value, Layout | str):
        return value
    if names := _device_fields(type(value)):
        mapped = {name: map_arrays(item, function, kinds) for name in names if (item := getattr(value, name)) is not None}
        return dataclasses.replace(value, **mapped)  # pyright: ignore[reportArgumentType, reportReturnType]
    if isinstance(value, Mapping):
        return {key: map_arrays(item, function, kinds) for key, item in value.items()}  # pyright: ignore[reportReturnType]
    if isinstance(value, tuple):
        return tuple(map_arrays(item, function, kinds) for item in value)  # pyright: ignore[reportReturnType]
    return value


@cache
def _device_fields(kind: type) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, except host fields; of any other type none."""
    return tuple(f.name for f in dataclasses.fields(kind) if not f.metadata.get("host")) if dataclasses.is_dataclass(kind) else ()


def to_tensors(value: T) -> T:
    """Convert NumPy arrays to torch tensors with shared memory, or copies of arrays that may not be written. Layouts stay host
    data."""
    return map_arrays(value, _once(_to_tensor), (np.ndarray,))


def _to_tensor(array: NDArray[Any]) -> Tensor:
    flags = array.flags
    return torch.from_numpy(array if flags.c_contiguous and flags.writeable else array.copy("C"))


def to_device(value: T, device: torch.device | str, *, non_blocking: bool = False) -> T:
    """Copy tensors to ``device``. Dtypes are kept; layouts stay host data.

    Tensors that lie in one buffer (see :func:`pin_memory`) travel in a single copy.
    """
    copies = JointCopies(_tensors(value), device, non_blocking=non_blocking)

    def moved(tensor: Tensor) -> Tensor:
        copy = copies.find(tensor)
        return tensor.to(device, non_blocking=non_blocking) if copy is None else copy

    return map_arrays(value, _once(moved), (Tensor,))


def pin_memory(value: T) -> T:
    """Copy tensors into one buffer of page-locked host memory, for a non-blocking transfer in a single copy."""
    tensors = _tensors(value)
    if not tensors:
        return value
    buffer, starts = joint_buffer(tensors, lambda size: torch.empty(size, dtype=torch.uint8, pin_memory=True))
    start_of = {id(tensor): start for tensor, start in zip(tensors, starts, strict=True)}
    return map_arrays(value, _once(lambda tensor: typed_view(buffer, start_of[id(tensor)], tensor.dtype, tensor.shape)), (Tensor,))


def _tensors(value: Any) -> list[Tensor]:
    """Return the distinct tensors of a value."""
    found: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        return found.setdefault(id(tensor), tensor)

    map_arrays(value, note, (Tensor,))
    return list(found.values())


def _once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Memoize a function by array identity, so that shared arrays stay shared."""
    found: dict[int, tuple[Any, Any]] = {}

    def apply(array: Any) -> Any:
        if id(array) not in found:
            found[id(array)] = array, function(array)
        return found[id(array)][1]

    return apply
