"""Progress lines of work that may take long. Imports no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""Between two lines about one piece of work."""


class Paced:
    """Log at most every ten seconds how much is done and how long the rest will take.

    Args:
        total: how much there is to do.
        doing: names the work in the log.
        of: what is counted, where ``doing`` does not say it.
    """

    def __init__(self, total: int, doing: str, of: str = "") -> None:
        self._total, self._doing, self._of = total, doing, f" {of}" if of else ""
        self._begun = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        """``done`` of the total are done."""
        now = time.monotonic()
        if done and now - self._last >= SECONDS:
            self._last = now
            left = (now - self._begun) / done * max(0, self._total - done)
            logger.info(
                "%s: %d of %d%s, about %d seconds left",
                self._doing, min(done, self._total), self._total, self._of, round(left),
            )  # fmt: skip


def watched(indices: Sequence[int], doing: str) -> Iterator[int]:
    """Yield the indices, and log every ten seconds how many are done and how long the others will take.

    Args:
        indices: what is scanned.
        doing: names the scan in the log.
    """
    tell = Paced(len(indices), doing)
    for number, index in enumerate(indices):
        tell(number)
        yield index
