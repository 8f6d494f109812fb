"""Progress lines of scans that may take long. Imports no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""Between two lines about one scan."""


def watched(indices: Sequence[int], doing: str) -> Iterator[int]:
    """Yield the indices, and log every ten seconds how many are done and how long the others will take.

    Args:
        indices: what is scanned.
        doing: names the scan in the log.
    """
    begun = last = time.monotonic()
    for number, index in enumerate(indices):
        now = time.monotonic()
        if number and now - last >= SECONDS:
            last = now
            left = (now - begun) / number * (len(indices) - number)
            logger.info("%s: %d of %d, about %d seconds left", doing, number, len(indices), round(left))
        yield index
