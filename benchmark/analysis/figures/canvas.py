"""The common parts of figures: fonts, panels, labels at the ends of lines, legends, the note below; and writing files."""

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
from robust_benchmark.words import number_of

os.environ["MPLBACKEND"] = "Agg"  # before matplotlib reads it, because an unknown backend makes the import fail
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FONT, SMALL = 8.0, 7.0  # points, at the size of the figure
LONGEST = 40  # the largest number of characters of a method's name
PANELS = 40  # the largest number of panels of a figure
POINTS = 72  # points of an inch
EM = 0.55  # mean width of a letter divided by the font size
LETTER = SMALL * EM / POINTS  # inches of a small letter
THEME: Any = {  # the keys are matplotlib's parameters; its stubs have a literal type for each key
    "font.family": "DejaVu Sans",  # part of matplotlib, so figures look the same on every machine
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
    "text.parse_math": False,  # a name may contain $
    "pdf.fonttype": 42,
    "svg.hashsalt": "figure",  # the same figure gives the same file
}
LEADER: Any = {
    "arrowstyle": "-",
    "linewidth": 0.8,
    "linestyle": (0, (1, 1.5)),
    "shrinkB": 0,
    "relpos": (0, 0.5),
}  # dotted, to differ from data
NO_DATE = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
ABOUT = {".pdf": "Subject", ".svg": "Description", ".png": "Description"}  # the field for the origin of the records


def write(function: Callable[[Request], Figure], request: Request, paths: Iterable[Path]) -> None:
    """Draw a figure and write it to each path. The metadata of the files names the origin of the records."""
    with mpl.rc_context(THEME), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name with letters that the font lacks shows boxes
        figure = function(request)
        try:
            for path in paths:
                about = {**NO_DATE[path.suffix], ABOUT[path.suffix]: provenance(request.records)}
                figure.savefig(path, dpi=200, metadata=about)
        finally:
            plt.close(figure)


class Sheet(NamedTuple):
    """A figure and its panels in reading order. columns: number of panels in a row"""

    figure: Figure
    panels: list[Axes]
    columns: int


def sheet(request: Request, number: int, height: float, most: int = 3, columns: int | None = None, widest: float = math.inf) -> Sheet:
    """A sheet of `number` panels, each `height` inches high, with at most `most` panels in a row (one in a narrow figure).

    columns: number of panels in a row; None to choose it; widest: the largest width of a panel in inches
    Raises UserError for more than PANELS panels.
    """
    if number > PANELS:
        raise UserError(f"a figure has at most {PANELS} panels, not {number}; give a subfolder, or choose methods with --methods")
    if columns is None:
        columns = 1 if request.is_narrow else number if number <= most else 2 if number == 4 else most
    rows = math.ceil(number / columns)
    size = min(request.width, columns * widest), rows * height
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[number:]:
        axis.set_axis_off()
    return Sheet(figure, list(axes.flat[:number]), columns)


def shown(name: str) -> str:
    """A name on one line. A long name loses its middle part.

    >>> shown("reed_soft"), shown("a" * 30 + "b" * 30)
    ('reed_soft', 'aaaaaaaaaaaaaaaaaaaa…bbbbbbbbbbbbbbbbbbb')
    """
    line = " ".join(name.split())
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]}…{line[1 - half :]}"


def wrapped(text: str, width: float, size: float = FONT) -> str:
    """The text in lines of at most `width` inches."""
    return textwrap.fill(text, max(8, int(width * POINTS / size / EM)), break_on_hyphens=False)


def title(axis: Axes, text: str, width: float) -> None:
    """Set the title of a panel of `width` inches, aligned left."""
    axis.set_title(wrapped(text, width), loc="left")


def note(figure: Figure, request: Request, sentences: Iterable[str]) -> None:
    """Write the sentences below the figure, and the number of diverged trials."""
    diverged = sum(record["status"] == "diverged" for record in request.records)
    text = " ".join(filter(None, [*sentences, f"{number_of(diverged, 'trial')} diverged." if diverged else ""]))
    figure.supxlabel(wrapped(text, figure.get_figwidth() - 0.1, SMALL), x=0.01, ha="left", fontsize=SMALL, color=MUTED)


def style_of(look: Look) -> dict[str, Any]:
    """A look as properties of a matplotlib line."""
    return {"color": look.colour, "marker": look.marker, "linestyle": (0, look.dash) if look.dash else "-"}


def legend(figure: Figure, looks: Mapping[str, Look], line: bool = True) -> None:
    """Add a legend above all panels, in the order of `looks`. line: whether entries show lines and not only markers"""
    styles = {name: style_of(look) if line else style_of(look) | {"linestyle": "none"} for name, look in looks.items()}
    handles = [handle(shown(name), style) for name, style in styles.items()]
    widest = max(len(shown(name)) for name in looks) * EM * FONT / POINTS + 0.55
    columns = max(1, min(len(handles), int(figure.get_figwidth() / widest)))
    figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(handles) / columns))  # so that the panels keep their height
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.4)


def handle(name: str, style: Mapping[str, Any]) -> Line2D:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, markersize=4.5, linewidth=1.4, markeredgecolor="white", markeredgewidth=0.4, **style)


class End(NamedTuple):
    """The end of a line in the coordinates of its panel, and its name and colour."""

    name: str
    colour: str
    x: float
    y: float


def label_ends(figure: Figure, ends: Mapping[Axes, Sequence[End]]) -> bool:
    """Write the name of each line at its end, right of the panel. If the names do not fit, write nothing and return False."""
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
    """The height of the end as a share of the panel's height."""
    return float(axis.transAxes.inverted().transform(axis.transData.transform((end.x, end.y)))[1])


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Positions in the same order with distances of at least `gap` that minimise the sum of squared differences to `places`.

    All positions are in [0, 1] if they fit. After subtracting rank × gap from each position, the only constraint is that positions do
    not decrease, which is isotonic regression.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    fitted = isotonic_regression(np.asarray(places, dtype=float)[order] - steps).x
    inside = np.clip(fitted, 0, max(0, 1 - gap * (len(places) - 1))) + steps
    result = np.empty(len(places))
    result[order] = inside
    return result.tolist()
