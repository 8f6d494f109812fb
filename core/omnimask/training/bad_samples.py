"""Guard against unreadable samples: each is logged once and counted, and a limited number is tolerated."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from omnimask.data.config import BadSamples
from omnimask.errors import RunStopped
from omnimask.messages.printable import printable

logger = logging.getLogger(__name__)

_NAMED = 10


class Unreadable(Protocol):
    """Report of one unreadable sample by the loader (``omnimask.data.loader.BadSample``)."""

    @property
    def key(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def trace(self) -> str: ...


class BadSampleGuard:
    """Counter of unreadable samples by key, which stops the run when too many different samples are unreadable.

    Args:
        counts: by key; updated in place.
        options: the limit.
        num_samples: size of the training set. If None (unknown), ``at_least`` alone is the limit.
    """

    def __init__(self, counts: dict[str, int], options: BadSamples, num_samples: int | None) -> None:
        self.counts = counts
        self.limit = max(options.at_least, int(options.fraction * (num_samples or 0)))
        self._reasons: dict[str, str] = {}
        self._traced: set[str] = set()

    def __call__(self, found: Iterable[Unreadable]) -> None:
        """Record the unreadable samples of a step.

        Raises:
            RunStopped: the limit is exceeded.
        """
        for bad in found:
            if bad.key not in self.counts:
                logger.warning("skipping unreadable sample: %s: %s", printable(bad.key), printable(bad.reason))
            if bad.trace and (last := bad.trace.rstrip().rpartition("\n")[0]) not in self._traced:
                self._traced.add(last)
                logger.info("reading it raised an unexpected exception:\n%s", bad.trace.rstrip())
            self.counts[bad.key] = self.counts.get(bad.key, 0) + 1
            self._reasons.setdefault(bad.key, bad.reason)
        if len(self.counts) > self.limit:
            raise RunStopped(self._message())

    def _message(self) -> str:
        named = [f"  {key}: {self._reasons.get(key, 'seen before the run was resumed')}" for key in list(self.counts)[-_NAMED:]]
        return (
            f"{len(self.counts)} samples are unreadable, but only {self.limit} are tolerated; repair the data or "
            "raise data.max_bad. The last ones:\n" + "\n".join(named)
        )
