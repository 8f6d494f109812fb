"""Warning if learned answers become one constant."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from omnimask.registry.observers import LearnedSpread
from omnimask.training.counters import Counters

logger = logging.getLogger(__name__)

SHARE = 0.2
"""Share of its value at the start below which the standard deviation of answers has collapsed, if that of predictions has, too."""
PREDICTIONS = 0.1
"""Standard deviation below which predictions are constant."""
FLOOR = 0.003
"""Standard deviation below which answers have collapsed, whatever it was at the start."""
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
    """Return whether answers and predictions are nearly constant. Fewer than ``FEWEST`` targets and NaN are not judged.

    Answers alone may lose most of their spread without harm, for example if a common part is subtracted from them later; a network
    then still predicts different answers.
    """
    if found.rows < FEWEST or not math.isfinite(found.spread) or not found.prediction_spread < PREDICTIONS:
        return False
    return found.spread < (FLOOR if at_start is None else max(FLOOR, SHARE * at_start))


def warning(term: str, found: LearnedSpread, progress: Counters) -> str:
    """Return the message: what collapsed, the numbers, and the remedy."""
    before = progress.spread_at_start.get(term)
    share = f"{100 * found.spread:.2g} % of their size"
    if before and before > found.spread:
        share = f"{100 * found.spread / before:.2g} % of its value at the start"
    return (
        f"the features of pass {found.source} have collapsed (term {term}, step {progress.step}): their standard deviation over "
        f"{found.rows:,} targets is {share} (RankMe {found.rankme:.3g}), and their predictions are nearly constant, too. "
        "The loss can fall without anything being learned. "
        f"{found.remedy}"
    )
