"""The sheet that figures are drawn on: fonts, panels, labels at the ends of lines, legends, the note below; and how it is written."""

from __future__ import annotations

import math
import os
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.analysis.captions import provenance
from benchmark.analysis.figures.request import Request
from benchmark.analysis.style import GRID, INK, MUTED, Look
from robust_benchmark.errors import UserError

os.environ["MPLBACKEND"] = "Agg"  # before matplotlib reads it: one that it does not know would end the import
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FONT, SMALL = 8.0, 7.0  # points, at the size drawn
LONGEST = 40  # characters of a method's name
PANELS = 40  # of one figure at most
POINTS = 72  # an inch
EM = 0.55  # mean width of a letter, in font sizes
LETTER = SMALL * EM / POINTS  # inches of a small one
THEME: Any = {  # by the names of matplotlib's parameters, which its stubs list one by one
    "font.family": "DejaVu Sans",  # which comes with matplotlib, so that figures look the same everywhere
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": SMALL + 0.5,
    "ytick.labelsize": SMALL + 0.5,
    "legend.fontsize": SMALL + 0.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a name may hold $
    "pdf.fonttype": 42,
    "svg.hashsalt": "figure",  # the same figure is the same file
}
LEADER: Any = {"arrowstyle": "-", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "shrinkB": 0, "relpos": (0, 0.5)}  # dotted, unlike data
NO_DATE = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
ABOUT = {".pdf": "Subject", ".svg": "Description", ".png": "Description"}  # the field of a file that says what it is


def write(function: Callable[[Request], Figure], request: Request, paths: Iterable[Path]) -> None:
    """Draw a figure and write it to each of the paths, with the origin of its records in the files' metadata."""
    with mpl.rc_context(THEME), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script that the font lacks shows boxes
        figure = function(request)
        try:
            for path in paths:
                about = {**NO_DATE[path.suffix], ABOUT[path.suffix]: provenance(request.records)}
                figure.savefig(path, dpi=200, metadata=about)
        finally:
            plt.close(figure)


class Sheet(NamedTuple):
    """A figure and its panels, in reading order; columns: panels of a row."""

    figure: Figure
    panels: list[Axes]
    columns: int


def sheet(request: Request, number: int, height: float, most: int = 3, columns: int | None = None, widest: float = math.inf) -> Sheet:
    """A sheet of `number` panels, each `height` inches high, at most `most` beside each other, and one where the figure is narrow.

    columns: panels of a row, where the caller decides; widest: inches of a panel
    Raises UserError for more than PANELS panels.
    """
    if number > PANELS:
        raise UserError(f"{number} panels are too many for one figure: give a folder further down, or choose methods by --methods")
    if columns is None:
        columns = 1 if request.is_narrow else number if number <= most else 2 if number == 4 else most
    rows = math.ceil(number / columns)
    size = min(request.width, columns * widest), rows * height
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[number:]:
        axis.set_axis_off()
    return Sheet(figure, list(axes.flat[:number]), columns)


def shown(name: str) -> str:
    """A name on one line, cut in its middle where it is long.

    >>> shown("reed_soft"), shown("a" * 30 + "b" * 30)
    ('reed_soft', 'aaaaaaaaaaaaaaaaaaaa…bbbbbbbbbbbbbbbbbbb')
    """
    line = " ".join(name.split())
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]}…{line[1 - half :]}"


def wrapped(text: str, width: float, size: float = FONT) -> str:
    """The text in lines that fit into `width` inches."""
    return textwrap.fill(text, max(8, int(width * POINTS / size / EM)), break_on_hyphens=False)


def title(axis: Axes, text: str, width: float) -> None:
    """Above a panel of `width` inches, at its left."""
    axis.set_title(wrapped(text, width), loc="left")


def note(figure: Figure, request: Request, sentences: Iterable[str]) -> None:
    """What the figure shows, in small letters below it; and how many trials diverged."""
    diverged = sum(record["status"] == "diverged" for record in request.records)
    text = " ".join(filter(None, [*sentences, f"{diverged} trial{'s' if diverged > 1 else ''} diverged." if diverged else ""]))
    figure.supxlabel(wrapped(text, figure.get_figwidth() - 0.1, SMALL), x=0.01, ha="left", fontsize=SMALL, color=MUTED)


def style_of(look: Look) -> dict[str, Any]:
    """A look by the names of a line's properties."""
    return {"color": look.colour, "marker": look.marker, "linestyle": (0, look.dash) if look.dash else "-"}


def legend(figure: Figure, looks: Mapping[str, Look], line: bool = True) -> None:
    """One for all panels, above them; the methods in the order of `looks`. line: with the line, not the marker alone"""
    styles = {name: style_of(look) if line else style_of(look) | {"linestyle": "none"} for name, look in looks.items()}
    handles = [handle(shown(name), style) for name, style in styles.items()]
    widest = max(len(shown(name)) for name in looks) * EM * FONT / POINTS + 0.55
    columns = max(1, min(len(handles), int(figure.get_figwidth() / widest)))
    figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(handles) / columns))  # else the panels would give it room
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.4)


def handle(name: str, style: Mapping[str, Any]) -> Line2D:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, markersize=4.5, linewidth=1.4, markeredgecolor="white", markeredgewidth=0.4, **style)


class End(NamedTuple):
    """Where a line ends, in the units of its panel, and its name and colour."""

    name: str
    colour: str
    x: float
    y: float


def label_ends(figure: Figure, ends: Mapping[Axes, Sequence[End]]) -> bool:
    """Write each name beside the end of its line, right of its panel; returns False, and writes nothing, where they do not fit."""
    figure.draw_without_rendering()
    heights = {axis: axis.get_window_extent().height / figure.dpi * POINTS for axis in ends}  # points
    gap = SMALL * 1.25
    if any(len(of_panel) * gap > heights[axis] * 1.05 for axis, of_panel in ends.items()):
        return False
    for axis, of_panel in ends.items():
        places = [_height(axis, end) for end in of_panel]
        for end, place in zip(of_panel, spread(places, gap / heights[axis]), strict=True):
            axis.annotate(
                shown(end.name),
                xy=(end.x, end.y),
                xytext=(1.03, place),
                textcoords="axes fraction",
                va="center",
                fontsize=SMALL,
                annotation_clip=False,
                arrowprops=LEADER | {"color": end.colour},
            )
    return True


def _height(axis: Axes, end: End) -> float:
    """Of the end, as a share of the panel's height."""
    return float(axis.transAxes.inverted().transform(axis.transData.transform((end.x, end.y)))[1])


def spread(places: Sequence[float], gap: float, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Places in the same order and as near as can be to those given, by the sum of squares, and no two nearer than `gap`.

    All lie in [low, high] where they fit there. Moved down by its rank times the gap, each place must only not be below the one before:
    that is isotonic regression.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    fitted = isotonic_regression(np.asarray(places, dtype=float)[order] - steps).x
    inside = np.clip(fitted, low, max(low, high - gap * (len(places) - 1))) + steps
    result = np.empty(len(places))
    result[order] = inside
    return result.tolist()
