"""No positions."""

from __future__ import annotations

from omnimask.interfaces import Context, Module, Placement, Stream


class NoPosition(Module):
    """Slots without positions: for sets, and as a control."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        del context

    def forward(self, stream: Stream) -> Placement:
        return Placement()
