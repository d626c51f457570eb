"""The sensitivity of tuned methods: a metric against each option, with a point for each trial of a search."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.analysis.figures import FORMATS, WIDTHS, canvas
from benchmark.analysis.figures.axes import scale_of
from benchmark.analysis.figures.request import Request
from benchmark.analysis.settings import flatten
from benchmark.analysis.style import COLOURS, INK
from benchmark.analysis.words import option_words, setting_words
from benchmark.metrics import Metric
from benchmark.metrics import metric as metric_of
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Searched(NamedTuple):
    """The search of one method in one setting. records: of its trials, in the order of their configurations"""

    method: str
    records: Sequence[Record]


class Panel(NamedTuple):
    """One option of a search. points: value of the option and of the metric for each trial"""

    method: str
    setting: str
    option: str
    points: list[tuple[Any, float]]


def check_path(path: Path) -> None:
    """Raise UserError if the suffix of `path` is not one of FORMATS."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} must have the suffix {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def draw(searches: Sequence[Searched], path: Path, metric: str) -> None:
    """Draw the trials of searches. metric: the one that chooses

    Raises UserError if no option of any method differs between finished trials.
    """
    check_path(path)
    records = [record for search in searches for record in search.records]
    request = Request(records, {}, (metric_of(metric),), None, False, (), WIDTHS["full"], Path(), None)
    canvas.write(functools.partial(sensitivity_figure, searches), request, [path])


def panels(searches: Sequence[Searched], metric: Metric) -> list[Panel]:
    """The panels of all options that differ between finished trials of one search."""
    found = []
    for (method, records), setting in zip(searches, setting_words([search.records[0] for search in searches]), strict=True):
        finished = [record for record in records if record["status"] == "done"]
        leaves = [(flatten(record["config"]["method"], "method."), metric.of(record["metrics"])) for record in finished]
        for option in dict.fromkeys(name for options, _ in leaves for name in options):
            points = [(options[option], value) for options, value in leaves if option in options]
            if len({str(value) for value, _ in points}) > 1:
                found.append(Panel(method, setting, option, points))
    return found


def sensitivity_figure(searches: Sequence[Searched], request: Request) -> Figure:
    """A panel for each option of each search. A ring marks the first of the highest values."""
    metric = request.metrics[0]
    found = panels(searches, metric)
    if not found:
        raise UserError("no option of a method differs between the trials, so there is no sensitivity to draw")
    several = len({panel.setting for panel in found}) > 1
    sheet = canvas.sheet(request, len(found), 2.0)
    for place, (axis, panel) in enumerate(zip(sheet.panels, found, strict=True)):
        _draw(axis, panel)
        words = f"{panel.method}, {panel.setting}" if several else panel.method
        canvas.title(axis, words, request.width / sheet.columns - 0.4)
        axis.set_xlabel(option_words(panel.option.removeprefix("method.")))
        if place % sheet.columns == 0:
            axis.set_ylabel(canvas.wrapped(metric.label, 1.6))
    said = "Each point is one trial of the search. The ring is the chosen configuration. Other options differ too between points."
    canvas.note(sheet.figure, request, [said])
    return sheet.figure


def _draw(axis: Axes, panel: Panel) -> None:
    given, values = [value for value, _ in panel.points], [value for _, value in panel.points]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if numbers:
        places = given
        if scale_of(panel.option, given) == "log":
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")  # matplotlib writes powers of ten as mathematics, which the theme does not parse
    else:
        texts = [value if isinstance(value, str) else json.dumps(value) for value in given]
        known = sorted(set(texts))
        places = [known.index(text) for text in texts]
        axis.set_xticks(range(len(known)), [canvas.shown(text) for text in known])
        axis.margins(x=0.3)
    axis.scatter(places, values, s=12, color=COLOURS[0], alpha=0.75, linewidths=0)
    best = max(range(len(values)), key=values.__getitem__)
    axis.scatter([places[best]], [values[best]], s=45, facecolors="none", edgecolors=INK, linewidths=0.9)
