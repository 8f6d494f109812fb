"""How often this process had to try again to read data: noted where it happens, and passed on with every batch that is loaded."""

from __future__ import annotations

_noted = 0


def note() -> None:
    """One attempt at reading failed, and another one follows."""
    global _noted
    _noted += 1


def take() -> int:
    """How many were noted since the last call."""
    global _noted
    taken, _noted = _noted, 0
    return taken
