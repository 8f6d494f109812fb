"""Counter of this process's repeated reads, passed on with every loaded batch."""

from __future__ import annotations

_noted = 0


def note() -> None:
    """Count a failed read that will be repeated."""
    global _noted
    _noted += 1


def take() -> int:
    """Return the count since the last call and reset it."""
    global _noted
    taken, _noted = _noted, 0
    return taken
