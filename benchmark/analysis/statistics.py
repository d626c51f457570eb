"""Estimates from the trials of a cell."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special  # scipy.stats takes half a second to import


@dataclass(frozen=True)
class Estimate:
    """A mean over trials and the half-width of its confidence interval (NaN for fewer than two trials)."""

    mean: float
    half_width: float
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
    if n == 1:
        return Estimate(mean, math.nan, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, _quantile((1 + level) / 2, n - 1) * math.sqrt(variance / n), n)


@functools.cache
def _quantile(share: float, degrees: int) -> float:
    """Of Student's t."""
    return float(special.stdtrit(degrees, share))
