"""Warning if learned answers become one constant."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from omnimask.registry.observers import LearnedSpread
from omnimask.training.counters import Counters

logger = logging.getLogger(__name__)

SHARE = 0.05
"""Share of its value at the start below which a standard deviation has collapsed."""
SPREAD = 0.05
"""Upper limit of a collapsed standard deviation, as a share of the vectors' size."""
FLOOR = 0.003
"""Standard deviation below which vectors have collapsed, whatever it was at the start."""
FEWEST = 16
"""Minimum number of targets to judge."""


def remember(progress: Counters, measured: Mapping[str, LearnedSpread]) -> None:
    """Record the standard deviations with which later ones are compared."""
    for term, found in measured.items():
        if math.isfinite(found.spread):
            progress.spread_at_start.setdefault(term, found.spread)


def watch(progress: Counters, measured: Mapping[str, LearnedSpread]) -> None:
    """Warn of every term whose answers have collapsed, once in a run. A term without a value at the start gets the first one."""
    remember(progress, measured)
    for term, found in measured.items():
        if term not in progress.collapsed and has_collapsed(found, progress.spread_at_start.get(term)):
            progress.collapsed.append(term)
            logger.warning("%s", warning(term, found, progress))


def has_collapsed(found: LearnedSpread, at_start: float | None) -> bool:
    """Return whether the answers are nearly constant. Fewer than ``FEWEST`` targets and NaN are not judged."""
    if found.rows < FEWEST or not math.isfinite(found.spread):
        return False
    limit = FLOOR if at_start is None else max(FLOOR, min(SPREAD, SHARE * at_start))
    return found.spread < limit


def warning(term: str, found: LearnedSpread, progress: Counters) -> str:
    """Return the message: what collapsed, the numbers, and the remedy."""
    before = progress.spread_at_start.get(term)
    share = f"{100 * found.spread:.2g} % of their size"
    if before and before > found.spread:
        share = f"{100 * found.spread / before:.2g} % of its value at the start"
    return (
        f"the features of pass {found.source} have collapsed (term {term}, step {progress.step}): their standard deviation over "
        f"{found.rows:,} targets is {share}, and their effective rank (RankMe) {found.rankme:.3g} of at most "
        f"{min(found.rows, found.width)}. A constant answers every target, so the loss falls without anything being learned. "
        f"{found.remedy}"
    )
