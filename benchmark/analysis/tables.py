"""The table of a set of records: methods by settings, grouped by what each method may see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.analysis.captions import caption
from benchmark.analysis.cost import COST
from benchmark.analysis.selection import LAST, SELECTIONS, check_selection, value
from benchmark.analysis.settings import Group, Words, groups, in_order, settings_of, text_of, words_of
from benchmark.analysis.statistics import Estimate, estimate
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    import pandas as pd  # a third of a second to import, and no table needs it but those for programs

STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}
FORMATS = (*STYLES, "csv")
MOST = 8  # columns of one table
SEES = {
    "clean_set": "clean set",
    "noise_rate": "noise rate",
    "transition_matrix": "transition matrix",
    "true_labels": "true labels",
}


class Row(NamedTuple):
    """What a table says of one cell by one selection; the mean and half-width of the 95 % interval are in the metric's unit."""

    selection: str
    sees: str
    method: str
    setting: Words
    mean: float
    half_width: float
    trials: int
    diverged: int
    key: str


def frame(records: Sequence[Record], metric: str = "test_accuracy", selection: str = LAST) -> pd.DataFrame:
    """One row a trial: sees, method, setting, seed, key, diverged, mean (the metric in its unit; NaN where diverged)."""
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
    """What the record's method saw, and what chose among its evaluations, in words."""
    chosen_by = SELECTIONS[selection].sees
    return " + ".join(["noisy labels", *(SEES.get(need, need) for need in record["needs"]), *filter(None, [chosen_by])])


def summary(records: Sequence[Record], metric: str = "test_accuracy", selections: Sequence[str] = (LAST,)) -> pd.DataFrame:
    """One row a cell and selection, by the fields of Row.

    Rows are grouped by what methods see, fewest first, and within by the method's mean over all its settings, the best last.
    Raises UserError as `render`.
    """
    import pandas as pd

    measured = metric_of(metric)
    rows = _sorted(_rows(records, measured, _counting(measured, selections)), measured)
    return pd.DataFrame(rows, columns=Row._fields).assign(setting=[text_of(row.setting) for row in rows])


def _rows(records: Sequence[Record], metric: Metric, selections: Sequence[str]) -> list[Row]:
    """One a cell and selection, less those for which finished trials lack the metric."""
    if not records:
        raise UserError("there are no records to show")
    for name in selections:
        check_selection(name, records)
    cells: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        cells.setdefault((record["key"], record["method"], *record["needs"]), []).append(record)
    rows = [row for trials in cells.values() for name in selections if (row := _row(trials, metric, name)).trials or row.diverged]
    if not any(row.trials for row in rows) and any(record["status"] != "diverged" for record in records):
        raise absent(metric)
    configs = {trials[0]["key"]: trials[0]["config"] for trials in cells.values()}
    settings = words_of([configs[row.key] for row in rows])
    return [row._replace(setting=setting) for row, setting in zip(rows, settings, strict=True)]


def _row(trials: Sequence[Record], metric: Metric, selection: str) -> Row:
    """The row of a cell, which does not say its setting yet."""
    first = trials[0]
    diverged = sum(trial["status"] == "diverged" for trial in trials)
    found = _estimate(trials, metric, selection)
    return Row(selection, sees(first, selection), first["method"], (), found.mean, found.half_width, found.trials, diverged, first["key"])


def _estimate(trials: Sequence[Record], metric: Metric, selection: str) -> Estimate:
    values = [measured for trial in trials if not math.isnan(measured := value(trial, metric, selection))]
    return estimate(values[:1] if metric.name in COST else values)  # a cost was measured once for all trials


def _counting(metric: Metric, selections: Sequence[str]) -> Sequence[str]:
    """The selections that make a difference."""
    return [LAST] if metric.name in COST else selections


def absent(metric: Metric) -> UserError:
    """The error for a metric that none of the records has."""
    when = f"it is absent {metric.absent}" if metric.absent else "records of earlier versions lack it"
    return UserError(f"none of these records has {metric.name}: {when}")


def _sorted(rows: Sequence[Row], metric: Metric) -> list[Row]:
    merits = _merits(rows, metric)
    places = {setting: place for place, setting in enumerate(in_order(row.setting for row in rows))}

    def order(row: Row) -> tuple[Any, ...]:
        return row.sees.count("+"), row.sees, merits[row.sees, row.method], row.method, places[row.setting], row.key

    return sorted(rows, key=order)  # which leaves the selections of a cell in their order


def _merits(rows: Iterable[Row], metric: Metric) -> dict[tuple[str, str], float]:
    """The more the better, for each group and method: by its first selection, over all settings; least where all trials diverged."""
    means: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        of_selection = means.setdefault((row.sees, row.method), {}).setdefault(row.selection, [])
        of_selection += [] if math.isnan(row.mean) else [row.mean if metric.larger_is_better else -row.mean]
    firsts = {method: next(iter(selections.values())) for method, selections in means.items()}
    return {method: math.fsum(first) / len(first) if first else -math.inf for method, first in firsts.items()}


def render(
    records: Sequence[Record],
    form: str = "text",
    metrics: str | Sequence[str] = "test_accuracy",
    selections: Sequence[str] = (LAST,),
    most: int | None = MOST,
) -> str:
    """The tables of the metrics in one of FORMATS. CSV has a row a cell, metric and selection, all in one table.

    The others have a row a method and a column a setting and selection, at most `most` in a table, or all in one for None.
    Raises UserError, with the nearest name, for an unknown metric or selection, or for one that no record can give.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    if form == "csv":
        import pandas as pd

        return pd.concat([summary(records, name, selections).assign(metric=name) for name in names]).to_csv(index=False)
    return "\n".join(_render(records, form, metric_of(name), selections, most) for name in names)


def _render(records: Sequence[Record], form: str, metric: Metric, selections: Sequence[str], most: int | None) -> str:
    selections = _counting(metric, selections)
    rows = _rows(records, metric, selections)
    by_setting: dict[Words, list[Row]] = {}
    for row in rows:
        by_setting.setdefault(row.setting, []).append(row)
    digits, comment = decimals(metric, [row.mean for row in rows]), "% " if form == "latex" else ""
    blocks = []
    for group in groups(by_setting, most and max(1, most // len(selections))):
        mine = _sorted([row for setting in group.settings for row in by_setting[setting]], metric)
        headers, lines = _wide(mine, group, selections, digits)
        blocks += [f"{comment}{group.heading}"] if group.heading else []
        blocks += [laid_out(headers, lines, form)]
    keys = {row.key for row in rows}
    shown = [record for record in records if record["key"] in keys]
    lacking = 0 if metric.name in COST else len(records) - sum(row.trials + row.diverged for row in rows if row.selection == selections[0])
    left_out = f" {lacking} of {len(records)} trials lack this metric and are left out." if lacking else ""
    return "\n\n".join([*blocks, f"{comment}{caption(metric, (row.trials for row in rows), shown, selections)}{left_out}\n"])


def laid_out(headers: Sequence[str], lines: Sequence[Sequence[str]], form: str) -> str:
    """A table of texts in one of STYLES."""
    if form == "text":  # as tabulate has it, in a tenth of the time, for there may be hundreds
        widths = [max([len(header) + 2, *map(len, column)]) for header, *column in zip(headers, *lines, strict=True)]
        rows = [headers, ["-" * width for width in widths], *lines]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    from tabulate import tabulate

    return tabulate(lines, headers=headers, tablefmt=STYLES[form], disable_numparse=True)


def _wide(rows: Iterable[Row], group: Group, selections: Sequence[str], digits: int) -> tuple[list[str], list[list[str]]]:
    """Headers and lines, one a method; what methods see stands once a group."""
    texts: dict[tuple[str, str], dict[tuple[Words, str], list[str]]] = {}
    for row in rows:
        texts.setdefault((row.sees, row.method), {}).setdefault((row.setting, row.selection), []).append(_text(row, digits))
    columns = [(setting, name) for setting in group.settings for name in selections]
    seen_before = ["", *(seen for seen, _ in texts)]
    lines = [
        ["" if seen == before else seen, method, *(" / ".join(cells.get(column, [])) for column in columns)]
        for before, ((seen, method), cells) in zip(seen_before, texts.items(), strict=False)
    ]
    names = [group.column(setting) + (f", {name}" if len(selections) > 1 else "") for setting, name in columns]
    return ["sees", "method", *names], lines


def decimals(metric: Metric, means: Iterable[float]) -> int:
    """Places after the point: two for percent, else as many as give the largest mean four digits, at most six.

    >>> decimals(metric_of("ece"), [61.0]), decimals(metric_of("nll"), [0.31, 1.52]), decimals(metric_of("peak_memory"), [312.5])
    (2, 3, 1)
    """
    largest = max((mean for mean in means if mean > 0), default=1.0)  # NaN is not above 0
    return 2 if metric.unit == "%" else min(6, max(0, 3 - math.floor(math.log10(largest))))


def _text(row: Row, digits: int) -> str:
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    return f"{plus_minus(row.mean, row.half_width, digits) if row.trials else '-'}{diverged}"


def plus_minus(mean: float, half_width: float, digits: int = 2) -> str:
    """A mean with its interval, without one where it is NaN.

    >>> plus_minus(61.0, 4.331), plus_minus(61.0, math.nan)
    ('61.00 ± 4.33', '61.00')
    """
    return f"{mean:.{digits}f}" + ("" if math.isnan(half_width) else f" ± {half_width:.{digits}f}")
