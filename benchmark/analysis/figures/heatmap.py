"""Heat map of the means of methods by settings, with numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.captions import trials_of
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.forest import by_setting, selected_words
from benchmark.analysis.figures.request import Request
from benchmark.analysis.rows import Row
from benchmark.analysis.style import MUTED
from benchmark.analysis.tables import decimals
from benchmark.metrics import Metric
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SETTINGS = 40  # the largest number of settings of a figure


def means(settings: dict[str, list[Row]], metric: Metric) -> tuple[list[str], NDArray[np.float64]]:
    """The methods, sorted by their mean over their settings (best first), and their means (methods, settings), NaN if there is none.

    Several cells of one method in one setting (the same name with other options) give the mean of their means.
    """
    methods = sorted({row.method for rows in settings.values() for row in rows})
    found = np.full((len(methods), len(settings)), np.nan)
    for column, rows in enumerate(settings.values()):
        for method in {row.method for row in rows}:
            found[methods.index(method), column] = np.mean([row.mean for row in rows if row.method == method])
    merits = np.nanmean(found, axis=1) * (-1 if metric.larger_is_better else 1)
    order = np.argsort(merits, kind="stable")
    return [methods[place] for place in order], found[order]


def heatmap_figure(request: Request) -> Figure:
    """A row for each method and a column for each setting."""
    request.finished()
    metric = request.one_metric("heatmap")
    settings = by_setting(request, metric)
    if len(settings) > SETTINGS:
        raise UserError(f"a heat map shows at most {SETTINGS} settings, not {len(settings)}; give a subfolder of the records")
    methods, values = means(settings, metric)
    columns = _columns(list(settings), request.width - 1.2)
    figure, axis = _table(request, len(methods), columns)
    digits = 1 if metric.unit == "%" else decimals(metric, values[np.isfinite(values)].tolist())
    shade(axis, values, digits, request.width - 1.2, reverse=not metric.larger_is_better)
    axis.set_xticks(names_at(columns), columns, rotation=_rotation(len(settings)), fontsize=canvas.SMALL)
    axis.set_yticks(names_at(methods), [canvas.shown(method) for method in methods])
    over = trials_of([row.trials for rows in settings.values() for row in rows])
    dash = " A dash means no finished trial." if np.isnan(values).any() else ""
    canvas.note(figure, request, [f"{metric.label}, mean over {over}. Darker is better.{dash}", selected_words(request)])
    return figure


def _rotation(columns: int) -> float:
    """The rotation of column names in degrees: vertical for more than a few columns."""
    return 0 if columns <= 4 else 90


def _columns(names: Sequence[str], width: float) -> list[str]:
    """The names, wrapped to fit their columns. width: of all columns together, in inches"""
    room = width / len(names)
    if not _rotation(len(names)):
        return [canvas.wrapped(name, room, canvas.SMALL) for name in names]
    lines = max(1, int(room * canvas.POINTS / canvas.SMALL / 1.3))
    longest_word = max(len(word) for name in names for word in name.split())
    letters = max(longest_word, math.ceil(max(map(len, names)) / lines) + 6)  # with room for words, which are not split
    return [textwrap.fill(name, letters, break_on_hyphens=False) for name in names]


def _table(request: Request, rows: int, columns: Sequence[str]) -> tuple[Figure, Axes]:
    upright = max(len(line) for name in columns for line in name.splitlines()) * canvas.LETTER if _rotation(len(columns)) else 0.4
    sheet = canvas.sheet(request, 1, height=0.4 + 0.2 * rows + upright)
    return sheet.figure, sheet.panels[0]


def shade(axis: Axes, values: NDArray[np.float64], digits: int, width: float, reverse: bool = False) -> None:
    """Draw values as shades with numbers. width: of the panel, in inches; reverse: whether small values are dark"""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = (
        width * canvas.POINTS / values.shape[1] / (4 + digits) / canvas.EM
    )  # a field contains three digits, the decimal point and the decimals
    shades(axis, values, (low, max(high, low + 1e-9)), digits, min(canvas.SMALL, room), "Blues_r" if reverse else "Blues")


def shades(
    axis: Axes, values: NDArray[np.float64], span: tuple[float, float], digits: int | None, size: float, colours: str = "Blues"
) -> None:
    """Draw values (rows, columns) as shades, with – for NaN. Field k of an axis is at k + 0.5.

    span: values of the lightest and the darkest shade; digits: number of decimals, None for no numbers; size: of text, in points
    """
    import seaborn as sns  # which also chooses white or dark text for each shade

    form = {} if digits is None else {"annot": True, "fmt": f".{digits}f", "annot_kws": {"fontsize": size}}
    ticks = {"xticklabels": False, "yticklabels": False}
    sns.heatmap(values, ax=axis, vmin=span[0], vmax=span[1], cmap=colours, cbar=False, **form, **ticks)
    axis.grid(visible=False)
    axis.tick_params(length=0)
    for row, column in np.argwhere(np.isnan(values)):
        axis.text(column + 0.5, row + 0.5, "–", ha="center", va="center", fontsize=size, color=MUTED)


def names_at(names: Sequence[str]) -> NDArray[np.float64]:
    """The positions of the fields of these names, (n,)."""
    return np.arange(len(names), dtype=np.float64) + 0.5
