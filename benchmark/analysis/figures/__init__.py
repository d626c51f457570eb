"""Figures of records. KINDS lists the kinds of figures, and `draw` draws one. Each file contains one kind or a few related kinds.

This package imports matplotlib and pandas only to draw a figure, because the help of `benchmark.report` lists the kinds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.analysis.figures.request import Labels, Request
from benchmark.analysis.selection import LAST
from benchmark.analysis.style import method_looks
from benchmark.metrics import metric
from benchmark.records.store import Record
from robust_benchmark.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = (".png", ".pdf", ".svg")
RANKINGS = ("loss", "margin", "wrong_events")  # evidence that exists for every method, for kind detection
WIDTHS = {"column": 3.3, "full": 6.9}  # inches, for a column and the text width of a two-column paper


class Kind(NamedTuple):
    """A kind of figure.

    words: its description in the help
    module, function: the module of this package and the function that draw it
    most: the largest number of methods
    selections: the largest number of selections (benchmark.analysis.selection); 0 if it always shows the last step
    """

    words: str
    module: str
    function: str
    most: int = 24
    selections: int = 0


KINDS = {
    "training": Kind("metrics along the training steps", "lines", "training_figure"),
    "against": Kind("metrics against an option (--x)", "lines", "against_figure", selections=5),
    "forest": Kind("each trial, mean and interval of each method", "forest", "forest_figure", 60, selections=1),
    "heatmap": Kind("means of methods by settings", "heatmap", "heatmap_figure", 80, selections=1),
    "profile": Kind("share of all trials and settings above each value", "profile", "profile_figure", selections=1),
    "improvement": Kind("how often each method is better than each other method", "profile", "improvement_figure", 32, selections=1),
    "pareto": Kind("a metric against measured cost (--x relative_seconds or peak_memory)", "pareto", "pareto_figure", selections=1),
    "confusion": Kind("confusion matrices of the test set", "matrices", "confusion_figure"),
    "transition": Kind("transition matrices: true, realised, and estimated (needs keep=[weights])", "transition", "transition_figure"),
    "weights": Kind("distributions of example weights", "weights", "weights_figure"),
    "detection": Kind("detection of wrong labels: ROC curves and precision at k (needs keep=[evidence])", "detection", "detection_figure"),
}


def draw(
    records: Sequence[Record],
    path: Path,
    kind: str = "training",
    x: str | None = None,
    y: str | Sequence[str] = "test_accuracy",
    logarithmic: bool = False,
    selections: Sequence[str] = (LAST,),
    of: Sequence[Record] | None = None,
    width: str = "full",
    checkpoint_dir: str | Path = ".checkpoints",
    labels_of: Callable[[Record], Labels] | None = None,
    ranking: str | None = None,
    estimate_of: Callable[[Record, Path], NDArray[np.float64] | None] | None = None,
) -> None:
    """Draw a figure and write it as PNG, PDF or SVG by the suffix of `path`. A path without a suffix gives PNG and PDF.

    kind: one of KINDS
    x: the horizontal axis: the option of kind 'against', the cost of kind 'pareto'
    y: metric or metrics
    logarithmic: whether the horizontal axis of kind 'against' is always logarithmic
    selections: the evaluations that count (benchmark.analysis.selection)
    of: all records of the report, which determine the looks of methods; None for `records`
    width: one of WIDTHS
    checkpoint_dir: directory of evidence and weights (keep=[evidence,weights])
    labels_of: returns the training labels of a recorded trial, for kind transition (benchmark.redrawn)
    estimate_of: returns the estimate of the transition matrix of a recorded trial, for kind transition (benchmark.estimates)
    ranking: one of RANKINGS, for kind detection; None ranks by weights, or by losses without weights
    Raises UserError for unknown names, with the nearest name, and for records without the data of the figure.
    """
    if path.suffix not in (*FORMATS, ""):
        raise UserError(f"{path} must have the suffix .png, .pdf or .svg, or no suffix for both .png and .pdf")
    found = _kind(kind, selections)
    if width not in WIDTHS:
        raise unknown("width of figures", width, WIDTHS)
    if ranking is not None and (kind != "detection" or ranking not in RANKINGS):
        raise unknown("ranking", ranking, RANKINGS) if kind == "detection" else UserError(f"a figure of kind {kind} has no ranking")
    _check_number({record["method"] for record in records}, kind, found.most)
    request = Request(
        records=records,
        looks=method_looks(records if of is None else of),
        metrics=tuple(metric(name) for name in dict.fromkeys([y] if isinstance(y, str) else y)),
        x=x,
        logarithmic=logarithmic,
        selections=tuple(selections),
        width=WIDTHS[width],
        checkpoint_dir=Path(checkpoint_dir),
        labels_of=labels_of,
        ranking=ranking,
        estimate_of=estimate_of,
    )
    from benchmark.analysis.figures import canvas

    function = getattr(importlib.import_module(f"{__name__}.{found.module}"), found.function)
    canvas.write(function, request, [path] if path.suffix else [path.with_name(f"{path.name}{ending}") for ending in FORMATS[:2]])


def _kind(name: str, selections: Sequence[str]) -> Kind:
    if name not in KINDS:
        raise unknown("kind of figure", name, KINDS)
    found = KINDS[name]
    if found.selections == 0 and list(selections) != [LAST]:
        able = ", ".join(each for each, kind in KINDS.items() if kind.selections)
        raise UserError(f"--select applies to tables and to figures of kind {able}, not to kind {name}")
    if len(selections) > max(1, found.selections):
        raise UserError(f"a figure of kind {name} shows one selection, not {', '.join(selections)}")
    return found


def _check_number(methods: set[str], kind: str, most: int) -> None:
    if len(methods) > most:
        raise UserError(f"a figure of kind {kind} shows at most {most} methods, not {len(methods)}; choose some with --methods")
