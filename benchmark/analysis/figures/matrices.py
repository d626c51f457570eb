"""Confusion matrices, and drawing of any matrix of shares between classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.captions import trials_of
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.heatmap import names_at, shades
from benchmark.analysis.figures.request import Request
from benchmark.analysis.words import setting_words
from benchmark.metrics import MATRIX_CLASSES
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERED = 10  # with at most this number of classes, fields show numbers and axes name all classes
SIZE = 2.55  # of a panel, in inches


def confusion(records: Sequence[Record]) -> NDArray[np.float64]:
    """The mean over trials of the confusion matrix of the test set, in percent. Each row (true class) sums to 100."""
    counts = np.array([record["per_class"]["confusion_matrix"] for record in records], dtype=float)
    return (100 * counts / np.maximum(1, counts.sum(axis=2, keepdims=True))).mean(axis=0)  # a class may have no test images


def cells(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """The finished records by setting and method."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record, setting in zip(records, setting_words(records), strict=True):
        if record["status"] == "done":
            found.setdefault((setting, record["method"]), []).append(record)
    return dict(sorted(found.items(), key=lambda item: item[0][0]))


def confusion_figure(request: Request) -> Figure:
    """A matrix for each setting and method. Raises UserError for records of more than MATRIX_CLASSES classes."""
    found = cells(request.finished())
    if any("confusion_matrix" not in record["per_class"] for trials in found.values() for record in trials):
        raise UserError(f"records of more than {MATRIX_CLASSES:,} classes have no confusion matrix")
    panels = {f"{canvas.shown(method)}\n{setting}": confusion(trials) for (setting, method), trials in found.items()}
    classes = {f"{canvas.shown(method)}\n{setting}": trials[0]["data"]["classes"] for (setting, method), trials in found.items()}
    methods = len({method for _, method in found})
    over = trials_of([len(each) for each in found.values()])
    said = f"Each row gives the predicted classes of the test images of one true class in %, mean over {over}."
    return matrix_figure(request, panels, classes, methods, ("Predicted class", "True class"), said)


def matrix_figure(
    request: Request,
    panels: Mapping[str, NDArray[np.float64]],
    classes: Mapping[str, Sequence[str | int]],
    beside: int,
    axes: tuple[str, str],
    said: str,
) -> Figure:
    """Square matrices in percent with titles.

    beside: number of panels in a row; axes: labels of the horizontal and the vertical axis; said: the note
    """
    columns = 1 if request.is_narrow else beside if beside in (2, 3) else None
    sheet = canvas.sheet(request, len(panels), min(SIZE, request.width - 0.6) + 0.2, columns=columns, widest=SIZE + 0.35)
    for place, (axis, (title, matrix)) in enumerate(zip(sheet.panels, panels.items(), strict=True)):
        _draw(axis, matrix, [str(each) for each in classes[title]])
        first, _, setting = title.partition("\n")
        axis.set_title(f"{first}\n{canvas.wrapped(setting, SIZE)}", loc="left")
        if place + sheet.columns >= len(panels):
            axis.set_xlabel(axes[0])
        if place % sheet.columns == 0:
            axis.set_ylabel(axes[1])
    unnumbered = any(len(matrix) > NUMBERED for matrix in panels.values())
    canvas.note(sheet.figure, request, [said, "White is 0 %, and the darkest shade is 100 %." if unnumbered else ""])
    return sheet.figure


def _draw(axis: Axes, matrix: NDArray[np.float64], names: Sequence[str]) -> None:
    size = canvas.SMALL if len(names) <= 6 else canvas.SMALL - 1
    shades(axis, matrix, (0, 100), 0 if len(names) <= NUMBERED else None, size)
    axis.set_aspect("equal")
    step = -(-len(names) // NUMBERED)
    shown = [name if len(name) <= 12 else f"{name[:11]}…" for name in names[::step]]
    places = names_at(names)[::step]
    axis.set_xticks(places, shown, rotation=90 if max(map(len, shown)) > 2 else 0)
    axis.set_yticks(places, shown)
