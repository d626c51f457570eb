"""The table of a set of records: methods by settings, grouped by what each method may see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmark.analysis.captions import caption
from benchmark.analysis.cost import COST
from benchmark.analysis.rows import Row, counting, ordered, rows_of, summary
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import Group, Words, groups, text_of
from benchmark.analysis.significance import LEVEL, against, best
from benchmark.analysis.statistics import FEWEST
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record

if TYPE_CHECKING:
    import pandas as pd  # a third of a second to import, and no table needs it but those for programs

STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}
FORMATS = (*STYLES, "csv")
MOST = 8  # columns of one table
MARK = "*"
BEST = (
    f"{MARK}: may be the best of its column; with 95 % confidence the marked methods include the truly best one (one-sided paired t tests,"
    " Bonferroni over the column; for normal differences between trials, and for this test set)."
)
AGAINST = (
    f"Rows other than {{reference}} show paired differences to it{{unit}}, with the trials won. {MARK}: p < {LEVEL} in a two-sided paired t"
    " test, adjusted by Holm over the rows of the column (for normal differences between trials, and for this test set)."
)
Texts = dict[tuple[str, str, str], str]  # by the place of a row


def render(
    records: Sequence[Record],
    form: str = "text",
    metrics: str | Sequence[str] = "test_accuracy",
    selections: Sequence[str] = (LAST,),
    most: int | None = MOST,
    reference: str = "",
) -> str:
    """The tables of the metrics in one of FORMATS. CSV has a row a cell, metric and selection, all in one table.

    The others have a row a method and a column a setting and selection, at most `most` in a table, or all in one for None.
    reference: a method; the tables then show the paired differences of all others to it
    Raises UserError, with the nearest name, for an unknown metric, selection or reference, or for one that no record can give.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    if form == "csv":
        return _flat(records, names, selections, reference)
    return "\n".join(_render(records, form, metric_of(name), selections, most, reference) for name in names)


def _flat(records: Sequence[Record], metrics: Sequence[str], selections: Sequence[str], reference: str) -> str:
    import pandas as pd

    parts = [_compared(records, name, selections, reference) if reference else summary(records, name, selections) for name in metrics]
    return pd.concat([part.assign(metric=name) for part, name in zip(parts, metrics, strict=True)]).to_csv(index=False)


def _compared(records: Sequence[Record], name: str, selections: Sequence[str], reference: str) -> pd.DataFrame:
    """One row a comparison: selection, sees, method, setting, difference, half_width, p, p_holm, wins, trials, diverged, key."""
    import pandas as pd

    metric = metric_of(name)
    rows = ordered(rows_of(records, metric, counting(metric, selections)), metric)
    return pd.DataFrame(
        {
            "selection": row.selection,
            "sees": row.sees,
            "method": row.method,
            "setting": text_of(row.setting),
            "difference": found.mean,
            "half_width": found.half_width,
            "p": found.p,
            "p_holm": p,
            "wins": found.wins,
            "trials": found.trials,
            "diverged": row.diverged,
            "key": row.key,
        }
        for row, found, p in against(rows, reference, metric)
    )


def _render(records: Sequence[Record], form: str, metric: Metric, selections: Sequence[str], most: int | None, reference: str) -> str:
    selections = counting(metric, selections)
    rows = rows_of(records, metric, selections)
    texts, note = _differences(rows, metric, reference) if reference else _values(rows, metric)
    by_setting: dict[Words, list[Row]] = {}
    for row in rows:
        by_setting.setdefault(row.setting, []).append(row)
    comment = "% " if form == "latex" else ""
    blocks = []
    for group in groups(by_setting, most and max(1, most // len(selections))):
        mine = ordered([row for setting in group.settings for row in by_setting[setting]], metric)
        headers, lines = _wide(mine, texts, group, selections)
        blocks += [f"{comment}{group.heading}"] if group.heading else []
        blocks += [laid_out(headers, lines, form)]
    keys = {row.key for row in rows}
    shown = [record for record in records if record["key"] in keys]
    lacking = 0 if metric.name in COST else len(records) - sum(row.trials + row.diverged for row in rows if row.selection == selections[0])
    left_out = f"{lacking} of {len(records)} trials lack this metric and are left out." if lacking else ""
    below = filter(None, [caption(metric, (row.trials for row in rows), shown, selections), note, left_out])
    return "\n\n".join([*blocks, f"{comment}{' '.join(below)}\n"])


def _values(rows: Sequence[Row], metric: Metric) -> tuple[Texts, str]:
    """The text of each row, and what is said of the marks."""
    digits, marked = decimals(metric, [row.mean for row in rows]), set() if metric.name in COST else best(rows, metric)
    return {row.place: _text(row, digits, row.place in marked) for row in rows}, BEST if marked else ""


def _differences(rows: Sequence[Row], metric: Metric, reference: str) -> tuple[Texts, str]:
    """As `_values`, with the differences to the reference; the reference itself, and what has none in its column, show their values."""
    digits = decimals(metric, [row.mean for row in rows])
    texts = {row.place: _text(row, digits, marked=False) for row in rows}
    for row, found, p in against(rows, reference, metric):
        diverged = f" ({row.diverged} diverged)" if row.diverged else ""
        mark = f" {MARK}" if p < LEVEL else ""  # NaN is not below it
        wins = f" ({found.wins} of {found.trials})"
        texts[row.place] = (
            f"{plus_minus(found.mean, found.half_width, digits, '+')}{wins}{mark}{diverged}" if found.trials else f"-{diverged}"
        )
    return texts, AGAINST.format(reference=reference, unit=" in points" if metric.unit == "%" else "")


def laid_out(headers: Sequence[str], lines: Sequence[Sequence[str]], form: str) -> str:
    """A table of texts in one of STYLES."""
    if form == "text":  # as tabulate has it, in a tenth of the time, for there may be hundreds
        widths = [max([len(header) + 2, *map(len, column)]) for header, *column in zip(headers, *lines, strict=True)]
        rows = [headers, ["-" * width for width in widths], *lines]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    from tabulate import tabulate

    return tabulate(lines, headers=headers, tablefmt=STYLES[form], disable_numparse=True)


def _wide(rows: Sequence[Row], shown: Texts, group: Group, selections: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Headers and lines, one a method, with the text that is shown of each row; what methods see stands once a group."""
    texts: dict[tuple[str, str], dict[tuple[Words, str], list[str]]] = {}
    for row in rows:
        texts.setdefault((row.sees, row.method), {}).setdefault((row.setting, row.selection), []).append(shown[row.place])
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


def _text(row: Row, digits: int, marked: bool) -> str:
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    mark = f" {MARK}" if marked else ""
    return f"{estimated(row, digits)}{mark}{diverged}" if row.trials else f"-{diverged}"


def estimated(row: Row, digits: int = 2) -> str:
    """Mean and interval; the values themselves, in the order of their seeds, where they are too few for an interval."""
    if row.trials >= FEWEST:
        return plus_minus(row.mean, row.half_width, digits)
    return ", ".join(f"{row.values[seed]:.{digits}f}" for seed in sorted(row.values))


def plus_minus(mean: float, half_width: float, digits: int = 2, sign: str = "") -> str:
    """A mean with its interval, without one where it is NaN; sign '+' shows that of a mean above 0.

    >>> plus_minus(61.0, 4.331), plus_minus(61.0, math.nan), plus_minus(1.0, 0.5, 1, "+")
    ('61.00 ± 4.33', '61.00', '+1.0 ± 0.5')
    """
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(half_width) else f" ± {half_width:.{digits}f}")
