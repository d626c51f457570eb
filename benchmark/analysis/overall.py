"""Aggregates of each method over several settings: first within each trial, then Student's t over the trials.

Settings are not a random sample, and their trials share seeds. So the trial is the unit, and an interval describes the variation of the
aggregate over trials of these settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.captions import described, limits, provenance
from benchmark.analysis.cells import Table
from benchmark.analysis.cost import COST
from benchmark.analysis.layout import page
from benchmark.analysis.rows import Row, counting, ordered, rows_of
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import Words, in_order, text_of
from benchmark.analysis.statistics import Estimate, average_rank, estimate, interquartile_mean, mean_of_settings
from benchmark.analysis.tables import decimals, measured
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from robust_benchmark.words import number_of

if TYPE_CHECKING:
    import pandas as pd  # the import takes a third of a second

AGGREGATES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": mean_of_settings,
    "interquartile mean": interquartile_mean,
    "average rank": average_rank,
}


class Overall(NamedTuple):
    """The aggregates of a method, by their names in AGGREGATES. `mean` and `interquartile mean` are in the metric's unit.

    values: the aggregate of each trial
    """

    sees: str
    method: str
    aggregates: dict[str, Estimate]
    values: dict[str, list[float]]


class Common(NamedTuple):
    """The settings and seeds that all methods share. values: (methods, seeds, settings), in the metric's unit"""

    methods: list[str]
    sees: list[str]
    settings: list[Words]
    seeds: list[int]
    values: NDArray[np.float64]


def common(rows: Sequence[Row]) -> Common:
    """The values of all methods in the settings and seeds that all methods share.

    rows: of one selection
    Raises UserError if a method has diverged trials or two cells of one setting, or if the methods share no setting or no seed.
    """
    by_method: dict[tuple[str, str], dict[Words, Row]] = {}
    for row in rows:
        found = by_method.setdefault((row.sees, row.method), {})
        if found.setdefault(row.setting, row) is not row:
            raise UserError(f"two cells of one setting have the name {row.method}; an aggregate takes one: choose others with --methods")
    diverged = sorted({row.method for row in rows if row.diverged})
    if diverged:
        raise UserError(f"trials of {', '.join(diverged)} diverged, so they have no aggregate over settings; choose others with --methods")
    settings = in_order(set.intersection(*map(set, by_method.values())))
    seeds = sorted(set.intersection(*(set(found[each].values) for found in by_method.values() for each in settings))) if settings else []
    if not seeds:
        raise UserError(f"the {len(by_method)} methods share no {'seed' if settings else 'setting'}; choose fewer methods with --methods")
    values = np.array([[[found[setting].values[seed] for setting in settings] for seed in seeds] for found in by_method.values()])
    return Common([method for _, method in by_method], [sees for sees, _ in by_method], settings, seeds, values)


def overall(rows: Sequence[Row], metric: Metric) -> tuple[list[Overall], list[Words], list[int]]:
    """The aggregates of each method over the settings and seeds that all methods share, and these settings and seeds.

    rows: of one selection, in the order of the result. Raises UserError like `common`.
    """
    shared = common(rows)
    aggregated = {name: _aggregated(name, shared.values, metric) for name in AGGREGATES}
    of_trials = [{name: aggregated[name][place].tolist() for name in AGGREGATES} for place in range(len(shared.methods))]
    found = [
        Overall(sees, method, {name: estimate(each) for name, each in mine.items()}, mine)
        for sees, method, mine in zip(shared.sees, shared.methods, of_trials, strict=True)
    ]
    return found, shared.settings, shared.seeds


def _aggregated(name: str, values: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """(methods, trials). Rank 1 is the best."""
    ranks_of_errors = name == "average rank" and not metric.larger_is_better
    return AGGREGATES[name](-values if ranks_of_errors else values)


def render(records: Sequence[Record], form: str = "text", metric_name: str = "test_accuracy", selection: str = LAST) -> str:
    """The table of aggregates, with a row for each method, in one of the formats of `benchmark.analysis.tables`.

    Raises UserError like `overall` and `benchmark.analysis.tables.render`.
    """
    metric = metric_of(metric_name)
    rows, found, settings, seeds = _overall(records, metric, selection)
    if form == "csv":
        return _flat(found, len(settings)).to_csv(index=False)
    digits = decimals(metric, [each.aggregates["mean"].mean for each in found])
    lines = [
        [each.sees, each.method, *(measured(each.aggregates[name], each.values[name], digits) for name in AGGREGATES)] for each in found
    ]
    keys = {row.key for row in rows if row.setting in settings}
    shown = [record for record in records if record["key"] in keys]
    is_cost = metric.name in COST
    within = "" if is_cost else " within each trial, then over the trials"
    note = (
        f"Aggregates over {number_of(len(settings), 'setting')}{within}. Ranks are among {number_of(len(found), 'method')}; 1 is the best."
        f" Settings: {'; '.join(map(text_of, settings))}."
    )
    sentences = [*described(metric, [len(seeds)], shown, [selection]), note, *([] if is_cost else limits(shown))]
    table = Table("", ["sees", "method", *AGGREGATES], lines)
    return page([table], sentences, "" if is_cost else provenance(shown), form, f"overall-{metric.name.replace('_', '-')}")


def frame(records: Sequence[Record], metric_name: str = "test_accuracy", selection: str = LAST) -> pd.DataFrame:
    """A row for each method and aggregate. Raises UserError like `render`."""
    _, found, settings, _ = _overall(records, metric_of(metric_name), selection)
    return _flat(found, len(settings))


def _overall(records: Sequence[Record], metric: Metric, selection: str) -> tuple[list[Row], list[Overall], list[Words], list[int]]:
    (counted,) = counting(metric, [selection])
    rows = ordered(rows_of(records, metric, [counted]), metric)
    return rows, *overall(rows, metric)


def _flat(found: Sequence[Overall], settings: int) -> pd.DataFrame:
    import pandas as pd

    table = [
        {"sees": each.sees, "method": each.method, "aggregate": name, "settings": settings, **estimated._asdict()}
        for each in found
        for name, estimated in each.aggregates.items()
    ]
    return pd.DataFrame(table)
