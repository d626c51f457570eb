"""The data of tables and comparisons: a row for each cell and selection, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.analysis.cost import COST
from benchmark.analysis.selection import LAST, SELECTIONS, check_selection, value
from benchmark.analysis.settings import Words, in_order, settings_of, text_of, words_of
from benchmark.analysis.statistics import estimate
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    import pandas as pd  # the import takes a third of a second, and only CSV, Parquet and data frames need it

SEES = {
    "clean_set": "clean set",
    "noise_rate": "noise rate",
    "transition_matrix": "transition matrix",
    "true_labels": "true labels",
}


class Row(NamedTuple):
    """One cell by one selection. values, mean and half_width (of the 95 % interval) are in the metric's unit.

    values: by seed, of the finished trials that have the metric
    """

    selection: str
    sees: str
    method: str
    setting: Words
    mean: float
    half_width: float
    trials: int
    diverged: int
    key: str
    values: Mapping[int, float]

    @property
    def place(self) -> tuple[str, str, str]:
        """The unique identity of the row."""
        return self.key, self.method, self.selection


def frame(records: Sequence[Record], metric: str = "test_accuracy", selection: str = LAST) -> pd.DataFrame:
    """A row for each trial: sees, method, setting, seed, key, diverged, mean (the metric in its unit; NaN if diverged)."""
    import pandas as pd

    measured = metric_of(metric)
    return pd.DataFrame(
        {
            "sees": [sees(record, selection) for record in records],
            "method": [record["method"] for record in records],
            "setting": settings_of(records),
            "seed": [record["seed"] for record in records],
            "key": [record["key"] for record in records],
            "diverged": [record["status"] == "diverged" for record in records],
            "mean": [value(record, measured, selection) for record in records],
        }
    )


def sees(record: Record, selection: str = LAST) -> str:
    """The information that the record's method and the selection of its evaluation use, in words."""
    chosen_by = SELECTIONS[selection].sees
    return " + ".join(["noisy labels", *(SEES.get(need, need) for need in record["needs"]), *filter(None, [chosen_by])])


def summary(records: Sequence[Record], metric: str = "test_accuracy", selections: Sequence[str] = (LAST,)) -> pd.DataFrame:
    """A row for each cell and selection, with the fields of Row except `values`, in the order of `ordered`.

    Raises UserError like `benchmark.analysis.tables.render`.
    """
    import pandas as pd

    measured = metric_of(metric)
    rows = ordered(rows_of(records, measured, counting(measured, selections)), measured)
    table = pd.DataFrame(rows, columns=Row._fields).drop(columns="values")
    return table.assign(setting=[text_of(row.setting) for row in rows])


def rows_of(records: Sequence[Record], metric: Metric, selections: Sequence[str]) -> list[Row]:
    """A row for each cell and selection, without those whose finished trials lack the metric."""
    if not records:
        raise UserError("there are no records to show")
    for name in selections:
        check_selection(name, records)
    cells = by_cell(records)
    rows = [row for trials in cells for name in selections if (row := _row(trials, metric, name)).trials or row.diverged]
    if not any(row.trials for row in rows) and any(record["status"] != "diverged" for record in records):
        raise absent(metric)
    configs = {trials[0]["key"]: trials[0]["config"] for trials in cells}
    settings = words_of([configs[row.key] for row in rows])
    return [row._replace(setting=setting) for row, setting in zip(rows, settings, strict=True)]


def by_cell(records: Iterable[Record]) -> list[list[Record]]:
    """The trials of each cell. Records with one key and other names of the method, as in an experiment's rows, are other cells."""
    cells: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        cells.setdefault((record["key"], record["method"], *record["needs"]), []).append(record)
    return list(cells.values())


def least_first(seen: str) -> tuple[int, str]:
    """Sort key for the words of `sees`: those of methods that see least come first."""
    return seen.count("+"), seen


def _row(trials: Sequence[Record], metric: Metric, selection: str) -> Row:
    """The row of a cell, still without its setting."""
    first = trials[0]
    values = {trial["seed"]: measured for trial in trials if not math.isnan(measured := value(trial, metric, selection))}
    if metric.name in COST:
        values = dict.fromkeys([0], next(iter(values.values()))) if values else {}  # one measurement for all trials and seeds
    found = estimate(list(values.values()))
    return Row(
        selection=selection,
        sees=sees(first, selection),
        method=first["method"],
        setting=(),
        mean=found.mean,
        half_width=found.half_width,
        trials=found.trials,
        diverged=sum(trial["status"] == "diverged" for trial in trials),
        key=first["key"],
        values=values,
    )


def counting(metric: Metric, selections: Sequence[str]) -> Sequence[str]:
    """The selections that affect this metric."""
    return [LAST] if metric.name in COST else selections


def absent(metric: Metric) -> UserError:
    """The error for a metric that no record has."""
    when = f"it is absent {metric.absent}" if metric.absent else "records of earlier versions lack it"
    return UserError(f"none of these records has {metric.name}: {when}")


def ordered(rows: Sequence[Row], metric: Metric) -> list[Row]:
    """The rows in groups by what their methods see, least first. A group is sorted by the methods' means (best last), then by setting."""
    merits = _merits(rows, metric)
    places = {setting: place for place, setting in enumerate(in_order(row.setting for row in rows))}

    def order(row: Row) -> tuple[Any, ...]:
        return *least_first(row.sees), merits[row.sees, row.method], row.method, places[row.setting], row.key

    return sorted(rows, key=order)  # a stable sort keeps the order of a cell's selections


def _merits(rows: Iterable[Row], metric: Metric) -> dict[tuple[str, str], float]:
    """The mean of each group and method over all settings, by its first selection. Larger is better; -inf if all trials diverged."""
    means: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        of_selection = means.setdefault((row.sees, row.method), {}).setdefault(row.selection, [])
        of_selection += [] if math.isnan(row.mean) else [row.mean if metric.larger_is_better else -row.mean]
    firsts = {method: next(iter(selections.values())) for method, selections in means.items()}
    return {method: math.fsum(first) / len(first) if first else -math.inf for method, first in firsts.items()}
