"""Tests over the rows of a table: which methods may be the best of a column, and how each method differs from a reference.

Trials of one seed share their data and their wrong labels, so all comparisons pair trials by seed. A method with diverged trials has no
mark, and its differences have no interval and no test, because its finished trials are a biased sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark.analysis.rows import Row
from benchmark.analysis.settings import Words
from benchmark.analysis.statistics import FEWEST, Difference, difference, holm, may_be_best
from benchmark.metrics import Metric
from robust_benchmark.errors import UserError, unknown

LEVEL = 0.05
Column = tuple[Words, str]  # a setting and a selection


class Compared(NamedTuple):
    """A row with its difference to the reference in the metric's unit. p: adjusted by Holm over the rows of the column"""

    row: Row
    difference: Difference
    p: float


def columns(rows: Iterable[Row]) -> dict[Column, list[Row]]:
    """The rows of each setting and selection."""
    found: dict[Column, list[Row]] = {}
    for row in rows:
        found.setdefault((row.setting, row.selection), []).append(row)
    return found


def best(rows: Sequence[Row], metric: Metric) -> set[tuple[str, str, str]]:
    """The places of the rows that may be the best of their column (statistics.may_be_best). A column with all rows marked has no marks."""
    marked: set[tuple[str, str, str]] = set()
    for column in columns(rows).values():
        compared = [row for row in column if not row.diverged and row.trials >= FEWEST]
        seeds = sorted(set.intersection(*(set(row.values) for row in compared))) if compared else []
        if len(seeds) < FEWEST:
            continue
        kept = may_be_best([[_merit(row, seed, metric) for seed in seeds] for row in compared])
        marked |= {row.place for row, stays in zip(compared, kept, strict=True) if stays and not kept.all()}
    return marked


def against(rows: Sequence[Row], reference: str, metric: Metric) -> list[Compared]:
    """The difference of each row to the reference's row in the same column. Columns without the reference are omitted.

    Raises UserError, with the nearest name, if the reference has no row, or several rows in one column.
    """
    if reference not in {row.method for row in rows}:
        raise unknown("method to compare with", reference, {row.method for row in rows})
    return [compared for column in columns(rows).values() for compared in _against(column, reference, metric)]


def _against(column: Sequence[Row], reference: str, metric: Metric) -> list[Compared]:
    references = [row for row in column if row.method == reference]
    if len(references) > 1:
        raise UserError(f"{len(references)} cells of one setting have the name {reference}; a reference must be a single cell")
    others = [row for row in column if row.method != reference]
    if not references:
        return []
    differences = [_difference(row, references[0], metric) for row in others]
    adjusted = holm([each.p for each in differences])
    return [Compared(row, each, float(p)) for row, each, p in zip(others, differences, adjusted, strict=True)]


def _difference(row: Row, reference: Row, metric: Metric) -> Difference:
    seeds = sorted(row.values.keys() & reference.values.keys())
    ours, theirs = ([_merit(each, seed, metric) for seed in seeds] for each in (row, reference))
    found = difference(ours, theirs)
    if row.diverged or reference.diverged:
        found = found._replace(half_width=math.nan, p=math.nan)
    return found if metric.larger_is_better else found._replace(mean=-found.mean)


def _merit(row: Row, seed: int, metric: Metric) -> float:
    """The value with the sign that makes larger values better."""
    return row.values[seed] if metric.larger_is_better else -row.values[seed]
