"""95 % intervals for means of scores, always within the range of the score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MIN_GROUPS = 5
"""Minimum number of samples for an interval over samples. Fewer don't show their spread."""

Bounds: TypeAlias = tuple[float, float]
"""Lower and upper bound of a score; ``inf`` if there is none."""
SHARE: Bounds = (0.0, 1.0)
DIFFERENCE: Bounds = (-1.0, 1.0)
"""Bounds of a difference of two shares."""
LOSS: Bounds = (0.0, math.inf)


@dataclass(frozen=True)
class Interval:
    """Mean with its 95 % interval from ``low`` to ``high``."""

    mean: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether there are enough values for an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def t_interval(values: ArrayLike, bounds: Bounds | None = None) -> Interval:
    """Return Student's t interval for the mean of independent values: mean ± t(0.975, n - 1) · s / √n; see :func:`within`.

    A single value has no known spread: its interval is unbounded (-inf to inf).
    """
    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, -np.inf, np.inf)
    return within(mean, _quantile(len(found)) * float(found.std(ddof=1) / np.sqrt(len(found))), bounds)


def wilson_interval(is_right: NDArray[np.bool_]) -> Interval:
    """Return Wilson's score interval for a share of right answers. Unlike the t interval it holds near 0 and 1 too."""
    from scipy import stats

    count, right = len(is_right), int(is_right.sum())
    found = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(right / count, float(found.low), float(found.high))


def ratio_interval(totals: ArrayLike, counts: ArrayLike, bounds: Bounds | None = None, *, least: int = 2) -> Interval:
    """Return the mean over items in groups with Student's t interval of a ratio estimate [0]. Items of a group may be dependent.

    Args:
        totals: (G,) sum over the items of each group.
        counts: (G,) their number.
        bounds: of the score; see :func:`within`.
        least: minimum number of groups; with fewer, the interval is unbounded (-inf to inf).

    [0] Cochran: Sampling Techniques, 1977, section 6.
    """
    totals, counts = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
    groups, mean = len(totals), float(totals.sum() / counts.sum())
    if groups < max(2, least):
        return Interval(mean, -np.inf, np.inf)
    error = float(np.sqrt(groups / (groups - 1) * np.square(totals - mean * counts).sum()) / counts.sum())
    return within(mean, _quantile(groups) * error, bounds)


def within(mean: float, half: float, bounds: Bounds | None) -> Interval:
    """Return the interval ``mean`` ± ``half``, computed on a scale without bounds and transformed back.

    The scale is the logarithm of the odds (of the distance to the lower bound, if there is no upper one), with the error of the
    mean by the delta method [0]. Far from the bounds this is the plain interval. Near them it becomes asymmetric, and wide with few
    values, but never leaves the range.

    Args:
        mean: lies within the bounds.
        half: half the width of the plain interval.
        bounds: None for the plain interval.

    [0] Korn, Graubard: Confidence intervals for proportions with small expected number of positive counts estimated from survey
    data, 1998.
    """
    if bounds is None or not math.isfinite(half):
        return Interval(mean, mean - half, mean + half)
    low, high = bounds
    below = mean - low
    if half == 0 or below <= 0 or mean >= high:  # all values are equal
        return Interval(mean, mean, mean)
    if math.isinf(high):
        factor = math.exp(min(half / below, 700.0))
        return Interval(mean, low + below / factor, low + below * factor)
    above = high - mean
    factor = math.exp(min(half * (high - low) / (below * above), 700.0))
    return Interval(
        mean, low + (high - low) * below / (below + above * factor), high - (high - low) * above / (above + below * factor)
    )


def _quantile(count: int) -> float:
    """Return the quantile of Student's t for the mean of ``count`` values."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1))
