"""Closing of iterators with workers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def closing(items: Iterable[T]) -> Generator[Iterator[T]]:
    """Yield an iterator over ``items`` and close it at the end of the ``with`` block, together with its workers."""
    iterator = iter(items)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
