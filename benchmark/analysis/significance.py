"""Which methods may be the best of a column, and how each differs from one reference: tests over the rows of a table.

Trials of one seed share their data and their corruption, so all comparisons are within seeds. A method with a diverged trial is not
compared: its other trials are the lucky ones.
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
    """A row with its difference to the reference, in the metric's unit; p is adjusted by Holm over the rows of the column."""

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
    """The place of each row that may be the best of its column (statistics.may_be_best); none where that tells nothing apart."""
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
    """Each row of another method with its difference to the reference's row in the same column; columns without a reference are left out.

    Raises UserError, with the nearest name, for a reference that has no row, or that has several in one column.
    """
    if reference not in {row.method for row in rows}:
        raise unknown("method to compare with", reference, {row.method for row in rows})
    return [compared for column in columns(rows).values() for compared in _against(column, reference, metric)]


def _against(column: Sequence[Row], reference: str, metric: Metric) -> list[Compared]:
    references = [row for row in column if row.method == reference]
    if len(references) > 1:
        raise UserError(f"{len(references)} cells of one setting are called {reference}; a reference must be one of them alone")
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
    """The more the better."""
    return row.values[seed] if metric.larger_is_better else -row.values[seed]
