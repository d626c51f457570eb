"""A metric against the cost of methods, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.analysis.cost import COST
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.forest import by_setting, selected_words
from benchmark.analysis.figures.intervals import cut, sentences
from benchmark.analysis.figures.request import Request
from benchmark.analysis.rows import Row, absent
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.style import MUTED
from benchmark.metrics import METRICS, Metric
from robust_benchmark.errors import UserError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmark.analysis.style import Look


class Point(NamedTuple):
    """The cost of a method, and its row."""

    cost: float
    row: Row


def front(costs: ArrayLike, merits: ArrayLike) -> NDArray[np.bool_]:
    """Which points are on the Pareto front, (n,): no other point is at least as good in cost and merit and better in one of them."""
    cost, merit = np.asarray(costs, dtype=float), np.asarray(merits, dtype=float)
    no_worse = (cost[:, None] <= cost) & (merit[:, None] >= merit)
    better = (cost[:, None] < cost) | (merit[:, None] > merit)
    beaten: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return ~beaten


def points(request: Request, metric: Metric, cost: Metric) -> dict[str, list[Point]]:
    """The methods with a measured cost in each setting. Raises UserError if there is none."""
    costs = {record["key"]: cost.of(record["metrics"]) for record in request.records}
    settings = by_setting(request, metric)
    found = {setting: [Point(costs[row.key], row) for row in rows if not np.isnan(costs[row.key])] for setting, rows in settings.items()}
    found = {setting: of for setting, of in found.items() if of}
    if not found:
        raise absent(cost)
    return found


def pareto_figure(request: Request) -> Figure:
    """A panel for each setting, with a point for each method."""
    metric, name = request.one_metric("pareto"), request.x or COST[0]
    if name not in COST:
        raise unknown("cost", name, COST)
    if metric.name in COST:
        raise UserError(f"{metric.name} is a cost; choose another metric for the vertical axis (--y)")
    found, looks = points(request, metric, METRICS[name]), request.shown_looks()
    sheet = canvas.sheet(request, len(found), 2.6, most=2)
    for place, (axis, (setting, of_setting)) in enumerate(zip(sheet.panels, found.items(), strict=True)):
        _draw(axis, of_setting, metric, looks)
        canvas.title(axis, setting, request.width / sheet.columns - 0.4)
        axis.set_xlabel(METRICS[name].label)
        if place % sheet.columns == 0:
            axis.set_ylabel(metric.label)
    low, high = min(axis.get_ylim()[0] for axis in sheet.panels), max(axis.get_ylim()[1] for axis in sheet.panels)
    for axis in sheet.panels:
        axis.set_ylim(low, high)
    canvas.legend(sheet.figure, {point.row.method: looks[point.row.method] for of in found.values() for point in of}, line=False)
    devices = sorted({record["cost"] for record in request.records if "cost" in record})
    values = [list(point.row.values.values()) for of in found.values() for point in of]
    said = ["The line is the Pareto front.", *sentences(values, [metric], "bars"), f"Cost was measured on {', '.join(devices)}."]
    canvas.note(sheet.figure, request, [*said, selected_words(request)])
    return sheet.figure


def _draw(axis: Axes, of_setting: Sequence[Point], metric: Metric, looks: dict[str, Look]) -> None:
    for cost, row in of_setting:
        look, (low, mean, high) = looks[row.method], cut(Estimate(row.mean, row.half_width, row.trials), metric)
        axis.errorbar(cost, mean, [[mean - low], [high - mean]], fmt="none", ecolor=look.colour, elinewidth=0.8, capsize=1.5)
        axis.plot(cost, mean, marker=look.marker, color=look.colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5, zorder=3)
    costs, means = (np.array([point.cost for point in of_setting]), np.array([point.row.mean for point in of_setting]))
    on_it = front(costs, means if metric.larger_is_better else -means)
    order = np.argsort(costs[on_it], kind="stable")
    axis.plot(costs[on_it][order], means[on_it][order], drawstyle="steps-post", color=MUTED, linewidth=1.0, linestyle=(0, (1, 1)), zorder=1)
    axis.margins(x=0.08)
