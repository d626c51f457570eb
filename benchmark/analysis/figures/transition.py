"""Transition matrices of label noise: the true one, the realised one of the training labels, and the methods' estimates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.matrices import matrix_figure
from benchmark.analysis.figures.request import Labels, Request
from benchmark.analysis.words import setting_words
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def counted(given: ArrayLike, true: ArrayLike, classes: int) -> NDArray[np.float64]:
    """The share of each given label (column) in each true class (row), (classes, classes). A class without examples has 0."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(true), np.asarray(given)), 1)
    return counts / np.maximum(1, counts.sum(axis=1, keepdims=True))


def transition_figure(request: Request) -> Figure:
    """For the first trial of each setting: the true matrix, the realised one, and the estimate of each method that kept one."""
    records = request.finished()
    if request.labels_of is None or request.estimate_of is None:
        raise UserError("a figure of kind transition needs the labels and the estimates of the trials (labels_of, estimate_of)")
    panels: dict[str, NDArray[np.float64]] = {}
    classes = {}
    for setting, of_setting in _first_trials(records).items():
        first = of_setting[0]
        matrices = _of_labels(first, request.labels_of(first))
        for record in of_setting:
            estimate = request.estimate_of(record, request.checkpoint_dir)
            matrices |= {} if estimate is None else {f"Estimated, {canvas.shown(record['method'])}": estimate}
        for name, matrix in matrices.items():
            panels[f"{name}\n{setting}"] = 100 * matrix
            classes[f"{name}\n{setting}"] = first["data"]["classes"]
    said = "Each row gives the labels of the training examples of one true class in %, in the first trial."
    has_estimates = any(name.startswith("Estimated") for name in panels)
    without = "" if has_estimates else " No method has a kept estimate (keep=[weights])."
    return matrix_figure(request, panels, classes, 3 if has_estimates else 2, ("Given label", "True class"), said + without)


def _first_trials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of the lowest seed in each setting, one for each method."""
    found: dict[str, list[Record]] = {}
    for record, setting in zip(records, setting_words(records), strict=True):
        found.setdefault(setting, []).append(record)
    return {setting: [each for each in of if each["seed"] == min(one["seed"] for one in of)] for setting, of in sorted(found.items())}


def _of_labels(record: Record, labels: Labels) -> dict[str, NDArray[np.float64]]:
    """The true matrix, if the noise has one, and the realised matrix."""
    realised = {"Realised": counted(labels.given, labels.true, len(record["data"]["classes"]))}
    return realised if labels.stated is None else {"True": labels.stated} | realised
