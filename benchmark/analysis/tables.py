"""The table of a set of records: methods by settings, grouped by what the methods see, or arranged by the user."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmark.analysis.axes import Axes, arranged
from benchmark.analysis.captions import described, limits, provenance
from benchmark.analysis.cells import Cell, Number, Table
from benchmark.analysis.cost import COST
from benchmark.analysis.layout import page
from benchmark.analysis.rows import Row, counting, ordered, rows_of
from benchmark.analysis.selection import EQUAL_COMPUTE, LAST
from benchmark.analysis.settings import Group, Words, groups
from benchmark.analysis.significance import LEVEL, against, best
from benchmark.analysis.statistics import FEWEST, Estimate
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record

MOST = 8  # the largest number of columns of a table
MARK = "*"
BEST = (
    f"{MARK}: may be the best of its {{place}}; with 95 % confidence, the marked methods include the truly best one (one-sided paired t"
    " tests, Bonferroni)."
)
BOLD = " Bold: the marked method with the best mean."
AGAINST = (
    f"Other rows show paired differences to {{reference}}{{unit}}, with the number of trials won. {MARK}: p < {LEVEL} (two-sided paired t"
    " test, adjusted by Holm over the column)."
)
COSTS_AGAINST = "Other rows show differences to {reference}."  # a cost is one measurement, without trials
Place = tuple[str, str, str]  # Row.place
Cells = dict[Place, Cell]


def render(
    records: Sequence[Record],
    form: str = "text",
    metrics: str | Sequence[str] = "test_accuracy",
    selections: Sequence[str] = (LAST,),
    most: int | None = MOST,
    reference: str = "",
    axes: Axes | None = None,
) -> str:
    """The tables of the metrics in one of `benchmark.analysis.layout.FORMATS`.

    CSV is one table with a row for each cell, metric and selection. Other formats have a row for each method and a column for each setting
    and selection.
    most: the largest number of columns of a table; None for no limit
    reference: a method; the tables then show the paired differences of all other methods to it
    axes: the user's rows and columns
    Raises UserError, with the nearest name, for an unknown metric, selection, reference or axis, and for one that no record has.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    if form == "csv":
        from benchmark.analysis.frames import frame  # importing pandas takes a third of a second

        return frame(records, names, selections, reference).to_csv(index=False)
    return "\n".join(_render(records, form, metric_of(name), selections, most, reference, axes) for name in names)


def _render(
    records: Sequence[Record],
    form: str,
    metric: Metric,
    selections: Sequence[str],
    most: int | None,
    reference: str,
    axes: Axes | None,
) -> str:
    selections = counting(metric, selections)
    rows = ordered(rows_of(records, metric, selections), metric)
    place = "column" if axes is None else "setting"
    cells, note = _differences(rows, metric, reference) if reference else _values(rows, metric, form, place)
    if axes is None:
        tables = _by_setting(rows, metric, cells, selections, most)
    else:
        tables = arranged(rows, cells, {record["key"]: record["config"] for record in records}, axes)
    keys = {row.key for row in rows}
    shown = [record for record in records if record["key"] in keys]
    is_cost = metric.name in COST
    sentences = [
        *described(metric, [row.trials for row in rows], shown, selections),
        note,
        *([] if is_cost else limits(shown)),
        *_left_out(records, rows, metric, selections),
    ]
    return page(tables, sentences, "" if is_cost else provenance(shown), form, metric.name.replace("_", "-"))


def _left_out(records: Sequence[Record], rows: Sequence[Row], metric: Metric, selections: Sequence[str]) -> list[str]:
    """Sentences on the trials and methods that have no number in the table."""
    if metric.name in COST:
        unknown = {record["method"] for record in records} - {row.method for row in rows}
        return [f"The cost of {', '.join(sorted(unknown))} was not measured."] if unknown else []
    first = [row for row in rows if row.selection == selections[0]]
    lacking = len(records) - sum(row.trials + row.diverged for row in first)
    counted = [f"The table omits {lacking} of {len(records)} trials, which lack this metric."] if lacking else []
    late = {record["method"] for record in records} - {row.method for row in rows if row.selection == EQUAL_COMPUTE}
    named = f"{EQUAL_COMPUTE} omits {', '.join(sorted(late))}: their cost is unknown, or their first evaluation is too late."
    return [*counted, *([named] if EQUAL_COMPUTE in selections and late else [])]


def _by_setting(rows: Sequence[Row], metric: Metric, cells: Cells, selections: Sequence[str], most: int | None) -> list[Table]:
    """The default tables: methods, grouped by what they see, by settings."""
    by_setting: dict[Words, list[Row]] = {}
    for row in rows:
        by_setting.setdefault(row.setting, []).append(row)
    return [
        _wide(ordered([row for setting in group.settings for row in by_setting[setting]], metric), cells, group, selections)
        for group in groups(by_setting, most and max(1, most // len(selections)))
    ]


def _values(rows: Sequence[Row], metric: Metric, form: str, place: str) -> tuple[Cells, str]:
    """The cell of each row, and the sentence on the marks. place: the word for the group in which methods are compared"""
    digits, marked = decimals(metric, [row.mean for row in rows]), set() if metric.name in COST else best(rows, metric)
    top = _top(rows, metric, marked)
    cells = {row.place: cell(row, digits, row.place in marked, row.place in top) for row in rows}
    return cells, (BEST.format(place=place) + ("" if form == "text" else BOLD)) if marked else ""


def _top(rows: Sequence[Row], metric: Metric, marked: set[Place]) -> set[Place]:
    """The marked row with the best mean of each column."""
    sign = 1 if metric.larger_is_better else -1
    found: dict[tuple[Words, str], Row] = {}
    for row in rows:
        column = row.setting, row.selection
        if row.place in marked and (column not in found or sign * row.mean > sign * found[column].mean):
            found[column] = row
    return {row.place for row in found.values()}


def _differences(rows: Sequence[Row], metric: Metric, reference: str) -> tuple[Cells, str]:
    """As `_values`, with differences to the reference. The reference itself, and rows of columns without a reference, show their values."""
    digits, is_cost = decimals(metric, [row.mean for row in rows]), metric.name in COST
    cells = {row.place: cell(row, digits) for row in rows}
    for row, found, p in against(rows, reference, metric):
        won = "" if is_cost else f" ({found.wins} of {found.trials})"
        mark = f" {MARK}" if p < LEVEL else ""  # False for NaN
        after = f"{won}{mark}{_diverged(row)}"
        cells[row.place] = Number(found.mean, found.half_width, digits, "+", after) if found.trials else f"-{_diverged(row)}"
    return cells, (COSTS_AGAINST if is_cost else AGAINST).format(reference=reference, unit=" in points" if metric.unit == "%" else "")


def _wide(rows: Sequence[Row], shown: Cells, group: Group, selections: Sequence[str]) -> Table:
    """A table with a line for each method."""
    lines: dict[tuple[str, str], dict[tuple[Words, str], list[Cell]]] = {}
    for row in rows:
        lines.setdefault((row.sees, row.method), {}).setdefault((row.setting, row.selection), []).append(shown[row.place])
    columns = [(setting, name) for setting in group.settings for name in selections]
    names = [group.column(setting) + (f", {name}" if len(selections) > 1 else "") for setting, name in columns]
    return Table(
        group.heading,
        ["sees", "method", *names],
        [[seen, method, *(_together(cells.get(column, [])) for column in columns)] for (seen, method), cells in lines.items()],
    )


def _together(cells: Sequence[Cell]) -> Cell:
    """One cell for all cells at the same place."""
    return cells[0] if len(cells) == 1 else " / ".join(cell.text if isinstance(cell, Number) else cell for cell in cells)


def decimals(metric: Metric, means: Iterable[float]) -> int:
    """The number of decimals: two for percent. Otherwise the largest mean gets four digits, with at most six decimals.

    >>> decimals(metric_of("ece"), [61.0]), decimals(metric_of("nll"), [0.31, 1.52]), decimals(metric_of("peak_memory"), [312.5])
    (2, 3, 1)
    """
    largest = max((mean for mean in means if mean > 0), default=1.0)  # NaN > 0 is False
    return 2 if metric.unit == "%" else min(6, max(0, 3 - math.floor(math.log10(largest))))


def cell(row: Row, digits: int, marked: bool = False, top: bool = False) -> Cell:
    """The cell of a row: its estimate, its mark, and its number of diverged trials."""
    after = (f" {MARK}" if marked else "") + _diverged(row)
    return measured(Estimate(row.mean, row.half_width, row.trials), [row.values[seed] for seed in sorted(row.values)], digits, after, top)


def _diverged(row: Row) -> str:
    return f" ({row.diverged} diverged)" if row.diverged else ""


def measured(found: Estimate, values: Sequence[float], digits: int = 2, after: str = "", best: bool = False) -> Cell:
    """Mean and interval of these values. With too few values for an interval, the values; with no value, a dash."""
    if found.trials >= FEWEST or found.trials == 1:
        return Number(found.mean, found.half_width, digits, after=after, best=best)
    return (", ".join(f"{value:.{digits}f}" for value in values) or "-") + after
