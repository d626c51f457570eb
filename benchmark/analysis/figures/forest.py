"""Forest plot: the trials of each method with their mean and interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.intervals import cut, sentences
from benchmark.analysis.figures.request import Request
from benchmark.analysis.rows import Row, counting, rows_of
from benchmark.analysis.selection import LAST, SELECTIONS
from benchmark.analysis.settings import in_order
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.words import setting_words
from benchmark.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmark.analysis.style import Look


def by_setting(request: Request, metric: Metric) -> dict[str, list[Row]]:
    """The rows of tables by setting in words, best method first. Rows without a finished trial are omitted."""
    rows = rows_of(request.records, metric, counting(metric, request.selections))
    words = dict(zip((record["key"] for record in request.records), setting_words(request.records), strict=True))
    found: dict[str, list[Row]] = {setting: [] for (setting,) in in_order((each,) for each in words.values())}
    for row in rows:
        if row.trials:
            found[words[row.key]].append(row)
    sign = -1 if metric.larger_is_better else 1
    return {setting: sorted(of, key=lambda row: (sign * row.mean, row.method)) for setting, of in found.items() if of}


def selected_words(request: Request) -> str:
    """A sentence on the selected evaluation; '' for the last step."""
    name = request.selections[0]
    return "" if name == LAST else f"Evaluation: {SELECTIONS[name].words}."


def forest_figure(request: Request) -> Figure:
    """A panel for each setting and a line for each method: circles for trials, a marker for the mean, a bar for the interval."""
    request.finished()
    metric, looks = request.one_metric("forest"), request.shown_looks()
    settings = by_setting(request, metric)
    most = max(len(rows) for rows in settings.values())
    sheet = canvas.sheet(request, len(settings), height=0.75 + 0.18 * most, most=2)
    for place, (axis, (setting, rows)) in enumerate(zip(sheet.panels, settings.items(), strict=True)):
        for row_place, row in enumerate(rows):
            _draw(axis, row_place, row, looks[row.method], metric)
        axis.set_yticks(range(len(rows)), [canvas.shown(row.method) for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        canvas.title(axis, setting, request.width / sheet.columns - 0.3)
        if place + sheet.columns >= len(settings):
            axis.set_xlabel(metric.label)
    _share_range(sheet.panels)
    values = [list(row.values.values()) for rows in settings.values() for row in rows]
    canvas.note(sheet.figure, request, ["Circles are trials.", *sentences(values, [metric], "bars"), selected_words(request)])
    return sheet.figure


def _draw(axis: Axes, place: int, row: Row, look: Look, metric: Metric) -> None:
    """Draw the mean with its interval, and the trials just below, so neither hides the other."""
    low, mean, high = cut(Estimate(row.mean, row.half_width, row.trials), metric)
    values = list(row.values.values())
    axis.plot([low, high], [place - 0.12] * 2, color=look.colour, linewidth=1.2, zorder=2)
    axis.plot(mean, place - 0.12, look.marker, markersize=5, color=look.colour, markeredgecolor="white", markeredgewidth=0.4, zorder=3)
    axis.plot(values, [place + 0.25] * len(values), "o", markersize=2.8, fillstyle="none", color=look.colour, markeredgewidth=0.6, zorder=2)


def _share_range(panels: list[Axes]) -> None:
    low, high = min(axis.get_xlim()[0] for axis in panels), max(axis.get_xlim()[1] for axis in panels)
    for axis in panels:
        axis.set_xlim(low, high)
