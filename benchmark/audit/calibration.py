"""From ranks of planted errors, and from marks, to recall, precision and the probability that a label is wrong."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import betaincinv  # importing scipy.stats takes half a second

LEVEL = 0.95


class Estimate(NamedTuple):
    """A share with its interval, in [0, 1]."""

    value: float
    low: float
    high: float


@functools.cache
def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """Return the exact interval of a binomial share (Clopper and Pearson, 1934); (0, 1) without draws."""
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def recall(ranks: np.ndarray, length: int) -> Estimate:
    """Return the share of planted errors that a list of this length finds, from their ranks, (m,)."""
    hits = int((ranks <= length).sum())
    return Estimate(hits / len(ranks), *clopper_pearson(hits, len(ranks)))


class Curve:
    """The distribution of planted errors over ranks 1 .. n, with a density that falls with the rank.

    The density is that of Grenander (1956): the slopes of the least concave majorant of the recall curve. One more error counts as planted
    and found last, so that the density is nowhere zero and ends at n.
    """

    def __init__(self, ranks: np.ndarray, n: int) -> None:
        places, counts = np.unique(np.append(np.minimum(ranks, n), n), return_counts=True)
        widths = np.diff(places, prepend=0).astype(np.float64)
        shares = counts / counts.sum()
        slopes = isotonic_regression(shares / widths, weights=widths, increasing=False).x
        self.density = np.repeat(slopes, widths.astype(np.int64))  # (n,), by rank; it sums to 1
        self.planted = len(ranks)
        self.median = int(np.median(ranks))

    def found(self, length: int) -> float:
        """Return the recall at this length, smoothed."""
        return float(self.density[:length].sum())


def mixture_count(curve: Curve, n: int) -> float:
    """Return the number of wrong labels among n by the mixture of wrong and right labels, without any mark.

    Assumptions: wrong labels rank as the planted ones do, so half of them are above the median planted error; and everything above it is
    wrong. With the second one, the number is rather too high; with harder errors than the planted ones, it is too low.
    """
    return min(float(n), 2.0 * (curve.median - 1))


def marked_count(curve: Curve, length: int, precision: float, n: int) -> float:
    """Return the number of wrong labels among n, from the precision of a list of this length and its recall."""
    return min(float(n), precision * length / curve.found(length))


def probabilities(curve: Curve, count: float) -> np.ndarray:
    """Return the probability of being wrong by rank, (n,), for `count` wrong labels in all: count times the density.

    It is at most 1 - 1 / (m + 2) with m planted errors, because so few cannot show that a label is certainly wrong (rule of succession).
    """
    return np.minimum(1 - 1 / (curve.planted + 2), count * curve.density)


class Marked(NamedTuple):
    """The marks of a random sample of a list."""

    wrong: int
    right: int
    unsure: int

    @property
    def n(self) -> int:
        """Their number."""
        return self.wrong + self.right + self.unsure

    @property
    def precision(self) -> Estimate:
        """The share of wrong labels in the list.

        The value leaves out unsure marks. The interval is valid for any truth behind them: they count as right for its lower end and as
        wrong for its upper end. It is exact for draws with replacement and conservative for this sample without.
        """
        sure = self.wrong + self.right
        value = self.wrong / sure if sure else 0.5
        return Estimate(value, clopper_pearson(self.wrong, self.n)[0], clopper_pearson(self.wrong + self.unsure, self.n)[1])
