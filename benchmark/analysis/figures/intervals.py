"""Intervals in figures: clipped to the range of the metric, and omitted for few trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmark.analysis.captions import trials_of
from benchmark.analysis.statistics import FEWEST, Estimate, estimate
from benchmark.metrics import Metric


def interval(values: Sequence[float], metric: Metric) -> tuple[float, float, float]:
    """Low end, mean and high end of the 95 % Student-t interval in the metric's range. Ends are NaN for fewer than FEWEST trials."""
    return cut(estimate(values), metric)


def cut(found: Estimate, metric: Metric) -> tuple[float, float, float]:
    """Low end, mean and high end of an estimate in the metric's unit, clipped to the metric's range, which Student's t ignores."""
    if math.isnan(found.half_width):  # otherwise the comparisons below give the ends of the range
        return math.nan, found.mean, math.nan
    low, high = bounds(metric)
    return max(low, found.mean - found.half_width), found.mean, min(high, found.mean + found.half_width)


def bounds(metric: Metric) -> tuple[float, float]:
    """The range of a metric in its unit."""
    factor = 100 if metric.unit == "%" else 1
    return factor * metric.low, factor * metric.high


def sentences(points: Iterable[Sequence[float]], metrics: Sequence[Metric], shape: str) -> list[str]:
    """Sentences on means and intervals. points: the values of each mean, in the unit of the metrics; shape: of intervals, as 'bars'"""
    trials = [len(values) for values in points]
    low, high, over = min(trials), max(trials), trials_of(trials)
    if high < FEWEST:
        return [f"Means are over {over}. Fewer than {FEWEST} trials have no interval."]
    said = [f"Means are over {over}. {shape.capitalize()} are 95 % confidence intervals (Student t)"]
    said += [f" for at least {FEWEST} trials"] if low < FEWEST else []
    ends = {end for each in metrics for end in bounds(each) if math.isfinite(end)}
    unit = " %" if {each.unit for each in metrics} == {"%"} else ""
    said += [f", clipped at {' and '.join(f'{end:g}' for end in sorted(ends))}{unit}"] if ends else []
    return ["".join(said) + "."]
