"""Visibility of tokens to slots: the predicate of the interfaces in its plainest form."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, Layout, Stream, View


def owner(layout: Layout) -> NDArray[np.int64]:
    """Return the sequence of every slot (T,)."""
    return np.repeat(np.arange(layout.num_sequences), layout.lengths)


def sees(stream: Stream) -> NDArray[np.bool_]:
    """Return (T, T) whether slot i (row) sees slot j (column)."""
    rank, block, sequence = np.asarray(stream.rank), np.asarray(stream.block), owner(stream.layout)
    earlier = rank[None, :] < rank[:, None]
    same = (rank[None, :] == rank[:, None]) & (block[None, :] == block[:, None])
    return (sequence[None, :] == sequence[:, None]) & (earlier | same)


def shows(stream: Stream, token: int) -> NDArray[np.bool_]:
    """Return (T,) whether a slot shows the content of a token (store or sample coordinates, as in the stream)."""
    return (np.asarray(stream.source) == token) & (np.asarray(stream.literal) == CONTENT)


@dataclasses.dataclass(frozen=True)
class Reach:
    """Slots (T,) of the context and of the query stream that may change with one token's content."""

    context: NDArray[np.bool_]
    query: NDArray[np.bool_] | None


def reach(view: View, token: int) -> Reach:
    """Return all slots possibly depending on a token: those seeing a slot with its content, and all queries of such a sequence."""
    context = _seeing(view.context, token)
    if view.query is None:
        return Reach(context, None)
    # a query attends to its whole parent sequence, so one slot that knows of the token is enough
    sequences = np.zeros(view.context.layout.num_sequences, bool)
    sequences[owner(view.context.layout)[context]] = True
    from_context = sequences[np.asarray(view.query.layout.parent)][owner(view.query.layout)]
    return Reach(context, from_context | _seeing(view.query, token))


def _seeing(stream: Stream, token: int) -> NDArray[np.bool_]:
    """Return (T,) whether a slot sees a slot of its stream showing the token."""
    return np.asarray((sees(stream) & shows(stream, token)[None, :]).any(axis=1))
