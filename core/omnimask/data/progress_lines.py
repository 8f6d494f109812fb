"""Progress messages of long operations. Imports no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""Seconds between two messages about one operation."""


class Paced:
    """Progress logger that reports, at most every ten seconds, the completed amount and the remaining time.

    Args:
        total: amount of work.
        doing: name of the operation in the log.
        of: unit of the amount, if ``doing`` does not imply it.
    """

    def __init__(self, total: int, doing: str, of: str = "") -> None:
        self._total, self._doing, self._of = total, doing, f" {of}" if of else ""
        self._begun = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        """Report that ``done`` of the total are complete."""
        now = time.monotonic()
        if done and now - self._last >= SECONDS:
            self._last = now
            left = (now - self._begun) / done * max(0, self._total - done)
            logger.info(
                "%s: %d of %d%s, about %d seconds left",
                self._doing, min(done, self._total), self._total, self._of, round(left),
            )  # fmt: skip


def watched(indices: Sequence[int], doing: str) -> Iterator[int]:
    """Yield the indices. Log every ten seconds the number done and the remaining time.

    Args:
        indices: to scan.
        doing: name of the scan in the log.
    """
    tell = Paced(len(indices), doing)
    for number, index in enumerate(indices):
        tell(number)
        yield index
