"""Time limit of an attempt: the run ends at a step boundary if one more step and a checkpoint might not fit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal

Part = Literal["step", "validation", "checkpoint"]

_RECENT = 20
"""Number of recent durations to consider. The first step of an attempt is often by far the longest; it is soon dropped."""


class Deadline:
    """Time limit of an attempt, with the durations of its parts.

    Args:
        seconds: from now on; None for no limit.
        clock: monotonic clock in seconds.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._recent: dict[Part, deque[float]] = {
            "step": deque(maxlen=_RECENT),
            "validation": deque(maxlen=2),
            "checkpoint": deque(maxlen=_RECENT),
        }

    @contextmanager
    def timed(self, part: Part) -> Generator[None]:
        """Record the duration of the ``with`` block."""
        begin = self._clock()
        yield
        self._recent[part].append(self._clock() - begin)

    def is_near(self, *, validates: bool) -> bool:
        """Return whether one more step and a checkpoint might exceed the limit, judged by the longest recent ones.

        Parts not measured yet count as 0 seconds, so the limit should leave room for a first checkpoint.

        Args:
            validates: whether the next step is followed by a validation.
        """
        if self._end is None:
            return False
        parts: list[Part] = ["step", "checkpoint", *(["validation"] if validates else [])]  # pyright: ignore[reportAssignmentType]
        needed = sum(max(self._recent[part], default=0.0) for part in parts)
        return self._clock() + needed >= self._end
