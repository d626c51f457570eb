"""Figures with lines: along training, and against an option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis.cost import COST
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.axes import place_ticks, positions, scale_of
from benchmark.analysis.figures.intervals import bounds, interval, sentences
from benchmark.analysis.figures.request import Request
from benchmark.analysis.rows import absent
from benchmark.analysis.selection import LAST, SELECTIONS, check_selection, value
from benchmark.analysis.settings import leaves_of
from benchmark.analysis.style import Look
from benchmark.analysis.words import option_words, setting_words
from benchmark.metrics import METRICS, Metric
from benchmark.records.history import over_phases
from benchmark.records.store import Record
from robust_benchmark.errors import UserError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ["method", "setting", "metric", "x", "value"]
HEIGHT = 2.4  # of a panel, in inches


def training(records: Sequence[Record], metrics: Sequence[Metric]) -> pd.DataFrame:
    """A row for each evaluation of a finished trial and metric, by LINES. x: step, counted over all phases; value: in the metric's unit

    Diverged trials do not count: a mean over trials that end early would jump at their ends.
    Raises UserError for a metric that no evaluation has.
    """
    for name in {each.name for each in metrics}.intersection(COST):
        raise UserError(f"{name} is constant along training; draw it against an option (--x)")
    lines = []
    for record, setting in zip(records, setting_words(records), strict=True):
        for step, entry in over_phases(record["history"]) if record["status"] == "done" else ():
            lines += [(record["method"], setting, each.name, step, each.of(entry)) for each in metrics if each.kept in entry]
    return _checked(lines, metrics, records)


def against(records: Sequence[Record], option: str, metrics: Sequence[Metric], selections: Sequence[str] = (LAST,)) -> pd.DataFrame:
    """A row for each finished trial with this option, metric and selection, by LINES. x: the option's value; value: in the metric's unit

    setting: without the option, and with the selection unless it is the last step
    Raises UserError, with the nearest name, for an option that is no number in any record, and a metric or selection that no record has.
    """
    numbers = {key: _numbers(leaves) for key, leaves in leaves_of({record["key"]: record["config"] for record in records}).items()}
    having = [record for record in records if option in numbers[record["key"]]]
    if not having:
        raise unknown("numeric option of these records", option, {name for mine in numbers.values() for name in mine})
    for name in selections:
        check_selection(name, having)
    lines = []
    for record, setting in zip(having, setting_words(having, without=option), strict=True):
        x = numbers[record["key"]][option]
        for name in selections:
            panel = setting if name == LAST else f"{setting}; {SELECTIONS[name].words}"
            lines += [(record["method"], panel, each.name, x, value(record, each, name)) for each in metrics]
    return _checked([line for line in lines if not math.isnan(line[-1])], metrics, having)


def _checked(lines: Sequence[tuple[Any, ...]], metrics: Sequence[Metric], records: Sequence[Record]) -> pd.DataFrame:
    """The lines as a data frame. Raises UserError if no trial finished, and for a metric that no finished trial has."""
    data = pd.DataFrame(lines, columns=LINES)
    for each in metrics:
        if each.name not in set(data["metric"]) and any(record["status"] != "diverged" for record in records):
            raise absent(each)
    if data.empty:
        raise UserError("no finished trial to draw")
    return data


def _numbers(leaves: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in leaves.items() if isinstance(value, int | float) and not isinstance(value, bool)}


class Line(NamedTuple):
    """A line of a panel. mean, low, high: means over trials and the ends of their intervals, (n,), NaN without an interval"""

    method: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def lines_of(data: pd.DataFrame, metric: Metric) -> list[Line]:
    """The lines of a panel, from the rows of its data frame, sorted by their last value, best first."""
    found = []
    for method, of_method in data.groupby("method", sort=False):
        by_x = of_method.groupby("x")["value"]
        points = np.array([interval(values.tolist(), metric) for _, values in by_x])  # low, mean, high
        found.append(Line(str(method), np.array(list(by_x.groups), dtype=float), points[:, 1], points[:, 0], points[:, 2]))
    return sorted(found, key=lambda line: (-line.mean[-1], line.method))


def depths(lines: Sequence[Line], tolerance: float) -> list[int]:
    """For each line, the length of the longest chain of later lines that overlap it. Later lines are narrower, so all stay visible.

    Two lines overlap if they differ by at most `tolerance` at half or more of their common positions.
    """
    found = [0] * len(lines)
    for place in reversed(range(len(lines))):
        above = [found[later] + 1 for later in range(place + 1, len(lines)) if _coincide(lines[place], lines[later], tolerance)]
        found[place] = max(above, default=0)
    return found


def _coincide(one: Line, other: Line, tolerance: float) -> bool:
    _, mine, theirs = np.intersect1d(one.x, other.x, return_indices=True)
    near = np.abs(one.mean[mine] - other.mean[theirs]) <= tolerance
    return near.size > 0 and bool(near.mean() >= 0.5)


def training_figure(request: Request) -> Figure:
    """Lines along training steps, with bands."""
    data = training(request.records, request.metrics)
    return _figure(request, data, "Training step, over all phases", None)


def against_figure(request: Request) -> Figure:
    """Lines against the option `request.x`, with bars."""
    if request.x is None:
        raise UserError("a figure of kind against needs an option for its axis, such as --x noise.rate")
    return _figure(request, against(request.records, request.x, request.metrics, request.selections), option_words(request.x), request.x)


def _figure(request: Request, data: pd.DataFrame, x_label: str, option: str | None) -> Figure:
    """A panel for each metric and setting. option: of the horizontal axis, with ticks at its values; None for steps"""
    names, tested = [each.name for each in request.metrics], data["x"].unique().tolist()
    parts = {(str(key[0]), str(key[1])): of_panel for key, of_panel in data.groupby(["metric", "setting"], sort=False)}
    keys = sorted(parts, key=lambda key: names.index(key[0]))  # a stable sort keeps the order of settings
    scale = scale_of(option, tested, request.logarithmic) if option else "linear"
    sheet, looks = canvas.sheet(request, len(keys), HEIGHT), request.shown_looks()
    panels = {}
    for place, (key, axis) in enumerate(zip(keys, sheet.panels, strict=True)):
        panels[axis] = [line._replace(x=positions(line.x, scale, tested)) for line in lines_of(parts[key], METRICS[key[0]])]
        _draw(axis, panels[axis], looks, banded=option is None)
        canvas.title(axis, key[1], request.width / sheet.columns - 0.4)
        axis.set_xlabel(x_label)
        if place % sheet.columns == 0 or keys[place - 1][0] != key[0]:
            axis.set_ylabel(canvas.wrapped(METRICS[key[0]].label, HEIGHT - 0.9))
    for each in request.metrics:
        _share_range([axis for key, axis in zip(keys, sheet.panels, strict=True) if key[0] == each.name], each)
    canvas.note(
        sheet.figure, request, sentences(data.groupby(LINES[:4])["value"].agg(list), request.metrics, "bars" if option else "bands")
    )
    for axis in panels:
        place_ticks(axis, option, tested, scale) if option else _step_ticks(axis)
    _name(sheet, panels, looks)
    return sheet.figure


def _draw(axis: Axes, lines: Sequence[Line], looks: Mapping[str, Look], banded: bool) -> None:
    """Draw lines with bands or bars. Of overlapping lines, upper lines are narrower with smaller markers. Bars are side by side."""
    values = np.concatenate([line.mean for line in lines])
    below = depths(lines, tolerance=0.012 * float(np.ptp(values)))
    aside = [0.0] * len(lines) if banded else _aside(lines)
    for place, (line, depth, moved) in enumerate(zip(lines, below, aside, strict=True)):
        style, extra = canvas.style_of(looks[line.method]), 1.5 * min(depth, 4)
        step = max(1, len(line.x) // 4)
        axis.plot(
            line.x + moved,
            line.mean,
            linewidth=1.3 + extra,
            markersize=4.2 + 1.4 * extra,
            markevery=(place % step, step) if banded else None,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=3 + place / 100,
            **style,
        )
        if banded:
            axis.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.13, linewidth=0, zorder=2)
        else:
            bars = np.stack([line.mean - line.low, line.high - line.mean])
            axis.errorbar(line.x + moved, line.mean, bars, fmt="none", ecolor=style["color"], elinewidth=0.8, capsize=1.5, zorder=2.5)


def _aside(lines: Sequence[Line]) -> list[float]:
    """The horizontal offset of each line, 3 % of the axis in total, so that intervals at one value do not overlap."""
    span = float(np.ptp(np.concatenate([line.x for line in lines]))) or 1.0
    return np.linspace(-0.015 * span, 0.015 * span, len(lines)).tolist() if len(lines) > 1 else [0.0]


def _share_range(panels: Sequence[Axes], metric: Metric) -> None:
    """Give all panels of a metric the same vertical range, which exceeds the metric's range only slightly."""
    low, high = min(axis.get_ylim()[0] for axis in panels), max(axis.get_ylim()[1] for axis in panels)
    margin, (least, most) = 0.03 * (high - low), bounds(metric)
    for axis in panels:
        axis.set_ylim(max(low, least - margin), min(high, most + margin))


def _step_ticks(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axis.set_xlim(left=0)


def _name(sheet: canvas.Sheet, panels: Mapping[Axes, Sequence[Line]], looks: Mapping[str, Look]) -> None:
    """Write names at the ends of lines if there is room, or add a legend."""
    ends = {
        axis: [canvas.End(line.method, looks[line.method].colour, line.x[-1], line.mean[-1]) for line in lines]
        for axis, lines in panels.items()
    }
    if sheet.columns > 2 or not canvas.label_ends(sheet.figure, ends):
        by_end = dict.fromkeys(line.method for lines in panels.values() for line in lines)
        canvas.legend(sheet.figure, {method: looks[method] for method in by_end})
