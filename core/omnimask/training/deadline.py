"""The time that an attempt is given: the run ends at a step border from which one more step and a checkpoint might not fit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal

Part = Literal["step", "validation", "checkpoint"]

_RECENT = 20
"""So many steps are looked at: the first of an attempt is often the longest by far, and should not count for hours."""


class Deadline:
    """When an attempt must have ended, and how long its parts take.

    Args:
        seconds: from now on; None: there is no end.
        clock: seconds of a clock that only goes forward.
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
        """Takes note of how long the ``with`` block took."""
        begin = self._clock()
        yield
        self._recent[part].append(self._clock() - begin)

    def is_near(self, *, validates: bool) -> bool:
        """Whether the time might not last for one more step and a checkpoint, as long as the longest of the last ones.

        What was not done yet in this attempt is taken to be quick: the time given should leave room for a first checkpoint.

        Args:
            validates: whether the next step is followed by a validation.
        """
        if self._end is None:
            return False
        parts: list[Part] = ["step", "checkpoint", *(["validation"] if validates else [])]  # pyright: ignore[reportAssignmentType]
        needed = sum(max(self._recent[part], default=0.0) for part in parts)
        return self._clock() + needed >= self._end
