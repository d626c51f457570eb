"""One number a method over several settings: aggregates within each trial, then Student's t over the trials.

Settings are not a sample of anything, and their trials share seeds; so the trial is the unit, and an interval says how the aggregate varies
over trials of these settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.captions import caption
from benchmark.analysis.rows import Row, ordered, rows_of
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import Words, in_order, text_of
from benchmark.analysis.statistics import Estimate, average_rank, estimate, interquartile_mean, mean_of_settings
from benchmark.analysis.tables import decimals, laid_out, plus_minus
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

AGGREGATES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": mean_of_settings,
    "interquartile mean": interquartile_mean,
    "average rank": average_rank,
}


class Overall(NamedTuple):
    """The aggregates of a method, by their names in AGGREGATES; `mean` and `interquartile mean` are in the metric's unit."""

    sees: str
    method: str
    aggregates: dict[str, Estimate]


class Common(NamedTuple):
    """What all methods have in common. values: (methods, seeds, settings), in the metric's unit"""

    methods: list[str]
    sees: list[str]
    settings: list[Words]
    seeds: list[int]
    values: NDArray[np.float64]


def common(rows: Sequence[Row]) -> Common:
    """The values of all methods in the settings and seeds that all of them have.

    rows: of one selection. Raises UserError where a method has diverged trials, or where the methods have no setting or seed in common.
    """
    by_method: dict[tuple[str, str], dict[Words, Row]] = {}
    for row in rows:
        by_method.setdefault((row.sees, row.method), {})[row.setting] = row
    diverged = sorted({row.method for row in rows if row.diverged})
    if diverged:
        raise UserError(f"trials of {', '.join(diverged)} diverged, so they have no aggregate over settings; leave them out by --methods")
    settings = in_order(set.intersection(*map(set, by_method.values())))
    seeds = sorted(set.intersection(*(set(found[each].values) for found in by_method.values() for each in settings))) if settings else []
    if not seeds:
        raise UserError(f"the {len(by_method)} methods have no {'seed' if settings else 'setting'} in common; choose some with --methods")
    values = np.array([[[found[setting].values[seed] for setting in settings] for seed in seeds] for found in by_method.values()])
    return Common([method for _, method in by_method], [sees for sees, _ in by_method], settings, seeds, values)


def overall(rows: Sequence[Row], metric: Metric) -> tuple[list[Overall], list[Words], list[int]]:
    """The aggregates of each method over the settings and seeds that all of them have, with these settings and seeds; the best last.

    rows: of one selection. Raises UserError as `common`.
    """
    shared = common(rows)
    aggregated = {name: _aggregated(name, shared.values, metric) for name in AGGREGATES}
    found = [
        Overall(sees, method, {name: estimate(aggregated[name][place].tolist()) for name in AGGREGATES})
        for place, (sees, method) in enumerate(zip(shared.sees, shared.methods, strict=True))
    ]
    return found, shared.settings, shared.seeds


def _aggregated(name: str, values: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """(methods, trials). Rank 1 is the best."""
    ranks_of_errors = name == "average rank" and not metric.larger_is_better
    return AGGREGATES[name](-values if ranks_of_errors else values)


def render(records: Sequence[Record], form: str = "text", metric_name: str = "test_accuracy", selection: str = LAST) -> str:
    """The table of aggregates, one row a method, in one of the formats of `benchmark.analysis.tables`.

    Raises UserError as `overall` and `benchmark.analysis.tables.render`.
    """
    metric = metric_of(metric_name)
    rows = ordered(rows_of(records, metric, [selection]), metric)
    found, settings, seeds = overall(rows, metric)
    if form == "csv":
        return _flat(found, len(settings))
    digits = decimals(metric, [each.aggregates["mean"].mean for each in found])
    lines = [[each.sees, each.method, *(plus_minus(*each.aggregates[name][:2], digits) for name in AGGREGATES)] for each in found]
    table = laid_out(["sees", "method", *AGGREGATES], lines, form)
    note = (
        f"Aggregates over {len(settings)} settings within each trial, then over the trials; ranks are among {len(found)} methods, and 1"
        f" is the best. Settings: {'; '.join(map(text_of, settings))}."
    )
    keys = {row.key for row in rows if row.setting in settings}
    below = f"{caption(metric, [len(seeds)], [record for record in records if record['key'] in keys], [selection])} {note}"
    return f"{table}\n\n{'% ' if form == 'latex' else ''}{below}\n"


def _flat(found: Sequence[Overall], settings: int) -> str:
    import pandas as pd

    table = [
        {"sees": each.sees, "method": each.method, "aggregate": name, "settings": settings, **estimated._asdict()}
        for each in found
        for name, estimated in each.aggregates.items()
    ]
    return pd.DataFrame(table).to_csv(index=False)
