"""Iterators that hold workers, closed however a loop over them ends."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def closing(items: Iterable[T]) -> Generator[Iterator[T]]:
    """Gives an iterator over ``items`` to the ``with`` block, and closes it, and its workers with it, at the end."""
    iterator = iter(items)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
