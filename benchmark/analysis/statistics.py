"""Estimates and tests for few trials. These functions map numbers to numbers, without records, methods or settings.

This module contains only procedures that keep their level with three to five trials; tests/test_coverage.py simulates them.
A 95 % bootstrap interval over five trials covers 83 %, and no rank test of five trials has a p value below 0.06.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # importing scipy.stats takes half a second

TIE = 1e-9  # records have fewer decimals, so smaller differences are rounding errors
CONFIDENCE = 0.95
FEWEST = 3  # trials for an interval: the half-width for two trials is 12.7 standard errors


class Estimate(NamedTuple):
    """A mean over trials, the half-width of its confidence interval (NaN for fewer than FEWEST trials), and the number of trials."""

    mean: float
    half_width: float
    trials: int


class Difference(NamedTuple):
    """A paired difference to a reference.

    mean, half_width: mean of the differences, and half-width of the two-sided 95 % interval; NaN as in Estimate and if p is NaN
    p: p value of the two-sided paired t test; NaN for fewer than FEWEST pairs and for equal differences
    wins: number of pairs in which the value is larger than the reference
    trials: number of pairs
    """

    mean: float
    half_width: float
    p: float
    wins: int
    trials: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of `values` and half-width t_{n-1} s / sqrt(n) of its two-sided Student-t interval with CONFIDENCE.

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, half_width=2.48..., trials=3)
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    mean = math.fsum(values) / n  # ten times as fast as NumPy for few values
    if n < FEWEST:
        return Estimate(mean, math.nan, n)
    return Estimate(mean, _quantile((1 + CONFIDENCE) / 2, n - 1) * _standard_error(values, mean), n)


def difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """The paired difference of `values` to a reference in the same trials, by Student's t.

    The level holds for normally distributed differences with any correlation within a pair. Raises ValueError for unequal lengths.

    >>> difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
    Difference(mean=2.0, half_width=2.48..., p=0.07..., wins=3, trials=3)
    """
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    mean, half_width, n = estimate(differences)
    wins = sum(each > TIE for each in differences)
    if n < FEWEST or max(differences) - min(differences) < TIE:  # without spread, t is infinite or 0 / 0
        return Difference(mean, math.nan, math.nan, wins, n)
    t = abs(mean) / _standard_error(differences, mean)
    return Difference(mean, half_width, 2 * float(special.stdtr(n - 1, -t)), wins, n)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p values (n,) for p values (n,). Rejecting those below a level has this familywise error (Holm, 1979).

    NaN marks a comparison without a test. It stays NaN and does not count in the adjustment.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    array([0.03, 0.06,  nan, 0.06])
    """
    given = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(given, np.nan)
    order = np.argsort(given)[: np.isfinite(given).sum()]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * given[order]))
    return adjusted


def may_be_best(values: ArrayLike) -> NDArray[np.bool_]:
    """Which methods may be the best one, (methods,). values: (methods, trials); larger is better

    The set excludes a method if another method is better in a one-sided paired t test at the level (1 - CONFIDENCE) / (methods - 1). It
    excludes the truly best method only if at least one of methods - 1 such tests is wrong. So by Bonferroni's inequality, the set contains
    the truly best method with a probability of at least CONFIDENCE, for normally distributed differences with any correlation and
    variances. This is subset selection (Gupta, 1965) without equal variances; the data select no reference. With fewer than FEWEST trials,
    the set contains all methods.
    """
    found = np.asarray(values, dtype=np.float64)
    methods, trials = found.shape
    if methods == 1 or trials < FEWEST:
        return np.ones(methods, dtype=bool)
    critical = _quantile(1 - (1 - CONFIDENCE) / (methods - 1), trials - 1)
    stays = np.ones(methods, dtype=bool)
    for one in found:  # all pairs at once take gigabytes for thousands of methods
        differences = one - found
        means, spreads = differences.mean(1), differences.std(1, ddof=1)
        constant = np.ptp(differences, axis=1) < TIE  # has no test
        stays &= ~((means * math.sqrt(trials) > critical * spreads) & ~constant)
    return stays


def mean_of_settings(values: ArrayLike) -> NDArray[np.float64]:
    """The mean over settings within each trial, (methods, trials). values: (methods, trials, settings)"""
    return np.asarray(values, dtype=np.float64).mean(-1)


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """The mean of the middle half of the settings within each trial, (methods, trials). values: (methods, trials, settings)

    It omits the lowest and the highest quarter, rounded down. Agarwal et al. (NeurIPS 2021) take it over runs and tasks together.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def average_rank(values: ArrayLike) -> NDArray[np.float64]:
    """The rank among the methods (1 for the largest value), averaged over settings within each trial. Shapes as in `mean_of_settings`.

    Equal values share the mean of their ranks.
    """
    found = np.asarray(values, dtype=np.float64)
    larger = (found[None] > found[:, None]).sum(1)
    equal = (found[None] == found[:, None]).sum(1)
    return (larger + (equal + 1) / 2).mean(-1)


def probability_of_improvement(values: ArrayLike, reference: ArrayLike) -> float:
    """The share of trials and settings in which the value is larger than the reference; equal values count half.

    values, reference: (trials, settings). This is a description and not a test. Agarwal et al. (NeurIPS 2021) compare all pairs of runs;
    this function compares within trials, which share their data.
    """
    differences = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    signs = np.sign(np.where(np.abs(differences) < TIE, 0.0, differences))
    return float(((signs + 1) / 2).mean())


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """The share of trials and settings above each threshold, (thresholds,). values: (trials, settings). A description and not a test."""
    found = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    return 1 - np.searchsorted(found, np.asarray(thresholds, dtype=np.float64), side="right") / found.size


def _standard_error(values: Sequence[float], mean: float) -> float:
    n = len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


@functools.cache
def _quantile(share: float, degrees: int) -> float:
    """A quantile of Student's t distribution."""
    return float(special.stdtrit(degrees, share))
