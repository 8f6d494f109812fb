"""Memory limit for building a model: an excessive size is rejected before it is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from omnimask.training.devices.memory import is_out_of_memory

T = TypeVar("T")

_OF_SIZE = frozenset(
    {"empty", "empty_strided", "zeros", "ones", "full", "rand", "randn", "new_empty", "new_zeros", "new_ones", "new_full", "eye"}
)
_OF_RANGE = frozenset({"arange", "linspace", "logspace"})
"""Torch operators for tensors of a given size, and from a range."""
LARGE = 1 << 28
"""Bytes of one tensor from which sizes are summed before any allocation."""
MANY = 1 << 30
"""Bytes of all tensors from which sizes are summed before any allocation: filling them takes seconds."""
_SMALL = 1 << 20
"""Bytes below which tensors are always allocated: some are computed with while a model is built."""
_SMALLER = "reduce its size (width, depth, lengths)"
MOST_TENSORS = 20_000
"""Maximum number of tensors created by a model's constructors: a thousand blocks create some tens of thousands."""


class TooLarge(ValueError):
    """Error: the model does not fit into memory."""


def available_memory() -> int:
    """Return the bytes available to this process: those of the machine, or of its control group if lower."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # the file is missing, or there is no limit ("max")
            continue
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    return min(found)


def build_within(make: Callable[[], T], limit: int | None = None) -> T:
    """Return the result of ``make`` unless its host tensors would exceed ``limit`` bytes in total.

    If one tensor or the total is large, ``make`` is first called with tensors on torch's device ``meta``, which allocates nothing
    (except small ones). It must therefore return the same at every call.

    Args:
        make: builds modules and tensors.
        limit: the default is the available memory.

    Raises:
        TooLarge: they would exceed the limit; nothing large was allocated. Inside a component this becomes a ``UserError``.
    """
    limit = available_memory() if limit is None else limit
    try:
        with _Limit(limit, on_large="stop"):
            return make()
    except _LargeTensor:
        pass
    dry = _Limit(limit, on_large="meta")
    try:
        with dry:
            make()
    except Exception:
        if dry.is_exceeded:
            raise
    try:
        with _Limit(limit):
            return make()
    except RuntimeError as error:  # results of operators are not counted: torch.randn(n) * 0.02 takes twice its size
        if not is_out_of_memory(error):
            raise
        raise TooLarge(f"its tensors need more than the {limit / 1e9:,.1f} GB of free memory; {_SMALLER}") from error


@contextmanager
def limited_memory() -> Generator[None]:
    """Limit new host tensors inside the ``with`` block to the available memory.

    Raises:
        TooLarge: another tensor would exceed it; it was not allocated.
    """
    with _Limit(available_memory(), most=math.inf):
        yield


class _LargeTensor(BaseException):
    """Signal that ends the first attempt. A ``BaseException``, so components don't catch it."""


class _Limit(TorchDispatchMode):
    def __init__(self, limit: int, on_large: Literal["make", "stop", "meta"] = "make", most: float = MOST_TENSORS) -> None:
        super().__init__()
        self.limit, self.on_large, self.most = limit, on_large, most
        self.used, self.count, self.is_exceeded = 0.0, 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        options = dict(kwargs or {})
        name = func.overloadpacket.__name__
        if (name in _OF_SIZE or name in _OF_RANGE) and torch.device(options.get("device") or "cpu").type == "cpu":
            size = _numbers(name, args, options) * (options.get("dtype") or torch.float32).itemsize
            self._count(size)
            if self.on_large == "stop" and (size >= LARGE or self.used >= MANY):
                raise _LargeTensor
            if self.on_large == "meta" and size >= _SMALL:
                options["device"] = torch.device("meta")
        return func(*args, **options)

    def _count(self, size: float) -> None:
        self.used, self.count = self.used + size, self.count + 1
        self.is_exceeded = self.used > self.limit or self.count > self.most
        if self.used > self.limit:
            raise TooLarge(
                f"its tensors need more than {self.used / 1e9:,.1f} GB; {self.limit / 1e9:,.1f} GB are available; {_SMALLER}"
            )
        if self.count > self.most:
            raise TooLarge(f"it creates more than {MOST_TENSORS:,} tensors; reduce its size (depth, number of parts)")


def _numbers(name: str, args: Sequence[Any], options: Mapping[str, Any]) -> float:
    """Return the number of elements created by a call, as far as its arguments tell."""
    if name in ("linspace", "logspace"):
        return float(options.get("steps", args[2] if len(args) > 2 else 0))
    plain = [value for value in args if isinstance(value, (int, float))]
    if name == "arange":
        start, end, step = {1: (0, *plain, 1), 2: (*plain, 1)}.get(len(plain), (*plain, 0, 0, 1)[:3])
        return max(0.0, (end - start) / step) if step else 0.0
    sizes = next((value for value in args if isinstance(value, (list, tuple, torch.Size))), plain)
    return float(math.prod(float(size) for size in sizes))
