"""Distributions of example weights for right and wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.matrices import cells
from benchmark.analysis.figures.request import Request
from benchmark.analysis.style import COLOURS
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"mixed": "one batch of all classes", "one_class": "batches of one class"}
COLUMNS = ["setting", "method", "panel", "label", "edge", "share"]


def weight_shares(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each setting, method, panel, kind of label and bin, by COLUMNS.

    edge: the lower edge of the bin, as weight times batch size; share: of the examples with this kind of label, in percent
    Raises UserError if no record has weights.
    """
    shares = []
    for (setting, method), trials in cells(records).items():
        histograms = [trial["weight_histograms"] for trial in trials if trial["weight_histograms"]]
        for panel in PANELS if histograms else ():
            for kind in ("right", "wrong"):
                counts = np.sum([histogram[panel][kind] for histogram in histograms], axis=0)
                share = 100 * counts / max(1, counts.sum())
                shares += [(setting, method, panel, kind, edge, each) for edge, each in zip(histograms[0]["edges"], share, strict=True)]
    if not shares:
        raise UserError("no record has example weights on a hyper-validation set (split.hyper_validation)")
    return pd.DataFrame(shares, columns=COLUMNS)


def weights_figure(request: Request) -> Figure:
    """Two panels for each setting and method: a batch of all classes, and batches of single classes."""
    shares = weight_shares(request.finished())
    groups = {tuple(map(str, key)): of for key, of in shares.groupby(["setting", "method", "panel"], sort=False)}
    columns = 1 if request.is_narrow else 2
    sheet = canvas.sheet(
        request, len(groups), 1.6 + 0.7 * columns / len(groups), columns=columns
    )  # 0.7 inches are for the legend and the note
    for place, (axis, ((setting, method, panel), data)) in enumerate(zip(sheet.panels, groups.items(), strict=True)):
        _draw(axis, data)
        width = request.width / sheet.columns - 0.4
        axis.set_title(f"{canvas.shown(method)}, {PANELS[panel]}\n{canvas.wrapped(setting, width)}", loc="left")
        if place + sheet.columns >= len(groups):
            axis.set_xlabel("Example weight times batch size")
        if place % sheet.columns == 0:
            axis.set_ylabel("Examples (%)")
    sheet.figure.legend(*sheet.panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    said = "Shares are of the hyper-validation examples with right and with wrong labels, over all trials. Plain training has the weight 1."
    canvas.note(sheet.figure, request, [said, f"The last bin contains all weights of at least {shares['edge'].max():g}."])
    return sheet.figure


def _draw(axis: Axes, data: pd.DataFrame) -> None:
    """Draw right labels as a filled area and wrong labels as a hatched outline above, so both are visible."""
    edges = np.sort(data["edge"].unique())
    ends = np.append(edges, edges[-1] + (edges[-1] - edges[-2] if len(edges) > 1 else 1))
    shares = {kind: of["share"].to_numpy() for kind, of in data.groupby("label")}
    axis.stairs(shares["right"], ends, fill=True, color=COLOURS[0], alpha=0.55, label="right label")
    axis.stairs(shares["wrong"], ends, fill=True, facecolor="none", edgecolor=COLOURS[1], hatch="/////", linewidth=1.0, label="wrong label")
    axis.set_xlim(ends[0], ends[-1])
    axis.set_ylim(bottom=0)
