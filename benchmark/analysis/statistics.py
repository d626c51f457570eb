"""What few trials allow to say: numbers in, numbers out. Nothing here knows records, methods or settings.

Only procedures that keep their level with three to five trials are here; tests/test_coverage.py simulates it.
A bootstrap over so few trials covers 83 % where it promises 95 %, and no rank test of five trials can go below p = 0.06.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes half a second to import

FEWEST = 3  # trials of an interval: that of two is 12.7 standard errors wide on each side


class Estimate(NamedTuple):
    """A mean over trials, the half-width of its confidence interval (NaN below FEWEST trials), and how many trials."""

    mean: float
    half_width: float
    trials: int


class Difference(NamedTuple):
    """A paired difference to a reference.

    mean, half_width: of the differences, with the two-sided 95 % interval; NaN as in Estimate, and where nothing can be tested
    p: of the two-sided paired t test; NaN where nothing can be tested: below FEWEST pairs, or where all differences are equal
    wins: pairs in which the value is the larger one
    trials: pairs
    """

    mean: float
    half_width: float
    p: float
    wins: int
    trials: int


def estimate(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of `values` with the two-sided Student-t interval of confidence `level`: half-width t_{n-1} s / sqrt(n).

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, half_width=2.48..., trials=3)
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    mean = math.fsum(values) / n  # a tenth of the time that NumPy takes for so few
    if n < FEWEST:
        return Estimate(mean, math.nan, n)
    return Estimate(mean, _quantile((1 + level) / 2, n - 1) * _standard_error(values, mean), n)


def difference(values: Sequence[float], reference: Sequence[float], level: float = 0.95) -> Difference:
    """Of `values` to those of a reference in the same trials, pair by pair, by Student's t.

    The level holds for normal differences, however strong trials of one seed are correlated. Raises ValueError for unequal lengths.

    >>> difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
    Difference(mean=2.0, half_width=2.48..., p=0.07..., wins=3, trials=3)
    """
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    mean, half_width, n = estimate(differences, level)
    wins = sum(each > 0 for each in differences)
    if n < FEWEST or max(differences) == min(differences):  # without any spread t is infinite or 0 / 0
        return Difference(mean, math.nan, math.nan, wins, n)
    t = abs(mean) / _standard_error(differences, mean)
    return Difference(mean, half_width, 2 * float(special.stdtr(n - 1, -t)), wins, n)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p values, (n,) of (n,): those below a level are rejected with that familywise error (Holm, 1979).

    NaN stands for a comparison that cannot be tested: it stays NaN, and the others are not adjusted for it.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    array([0.03, 0.06,  nan, 0.06])
    """
    given = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(given, np.nan)
    order = np.argsort(given)[: np.isfinite(given).sum()]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * given[order]))
    return adjusted


def may_be_best(values: ArrayLike, level: float = 0.95) -> NDArray[np.bool_]:
    """Which of the methods may be the best one: (methods,) from the values (methods, trials), the larger the better.

    A method is out if some other one beats it in a one-sided paired t test at (1 - level) / (methods - 1). The truly best
    method is out only if one of the others wins such a test against it, so by Bonferroni's inequality the set contains it with at
    least probability `level`, for normal differences of any correlation and spread. (Subset selection after Gupta, 1965, without
    his equal variances; it needs no choice of a reference by the data.) Below FEWEST trials no method is out.
    """
    found = np.asarray(values, dtype=np.float64)
    methods, trials = found.shape
    if methods == 1 or trials < FEWEST:
        return np.ones(methods, dtype=bool)
    critical = _quantile(1 - (1 - level) / (methods - 1), trials - 1)
    stays = np.ones(methods, dtype=bool)
    for one in found:  # all pairs at once would take gigabytes for thousands of methods
        differences = one - found
        means, spreads = differences.mean(1), differences.std(1, ddof=1)
        stays &= ~((means * math.sqrt(trials) > critical * spreads) & (spreads > 0))  # a constant difference cannot be tested
    return stays


def mean_of_settings(values: ArrayLike) -> NDArray[np.float64]:
    """The mean over settings within each trial: (methods, trials) of (methods, trials, settings)."""
    return np.asarray(values, dtype=np.float64).mean(-1)


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """The mean of the middle half of the settings within each trial: (methods, trials) of (methods, trials, settings).

    The lowest and the highest quarter, rounded down, are left out (Agarwal et al., NeurIPS 2021, there over runs and tasks at once).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def average_rank(values: ArrayLike) -> NDArray[np.float64]:
    """The rank among the methods, 1 for the largest value, averaged over settings within each trial: shapes as `mean_of_settings`.

    Equal values share the mean of their ranks.
    """
    found = np.asarray(values, dtype=np.float64)
    larger = (found[None] > found[:, None]).sum(1)
    equal = (found[None] == found[:, None]).sum(1)
    return (larger + (equal + 1) / 2).mean(-1)


def probability_of_improvement(values: ArrayLike, reference: ArrayLike) -> float:
    """The share of trials and settings in which the value is above the reference's, (trials, settings) both; equal ones count half.

    A description, no test (Agarwal et al., NeurIPS 2021, there over all pairs of runs; here within trials, which share their data).
    """
    differences = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return float(((np.sign(differences) + 1) / 2).mean())


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """The share of trials and settings above each threshold: (thresholds,) from the values (trials, settings). A description, no test."""
    found = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    return 1 - np.searchsorted(found, np.asarray(thresholds, dtype=np.float64), side="right") / found.size


def _standard_error(values: Sequence[float], mean: float) -> float:
    n = len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


@functools.cache
def _quantile(share: float, degrees: int) -> float:
    """Of Student's t."""
    return float(special.stdtrit(degrees, share))
