"""Transition matrices of label noise: the true one, the one that the training labels have, and those that methods estimated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.matrices import matrix_figure
from benchmark.analysis.figures.request import Request
from benchmark.analysis.words import setting_words
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from robust_benchmark.files import check_regular

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TENSOR = "transition"  # the buffer in which a method keeps its estimate
ENDING = ".weights.safetensors"  # as benchmark.training.artifacts writes them


def counted(given: ArrayLike, true: ArrayLike, classes: int) -> NDArray[np.float64]:
    """The share of the examples of each true class (row) that are given each label: (classes, classes). A class without examples has 0."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(true), np.asarray(given)), 1)
    return counts / np.maximum(1, counts.sum(axis=1, keepdims=True))


def estimated(record: Record, checkpoint_dir: Path) -> NDArray[np.float64] | None:
    """The transition matrix that the trial's method ended with, from its kept weights; None where none were kept or none is among them."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = checkpoint_dir / record["key"] / f"seed-{record['seed']}{ENDING}"
    classes = len(record["data"]["classes"])
    try:
        check_regular(path)
        tensors = load_file(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    found = [tensor for name, tensor in sorted(tensors.items()) if name.rpartition(".")[2] == TENSOR and tensor.shape == (classes, classes)]
    return found[0].astype(np.float64) if found else None


def transition_figure(request: Request) -> Figure:
    """For each setting, of the first trial: the true matrix, the realised one, and one for each method that kept an estimate."""
    records = request.finished()
    panels: dict[str, NDArray[np.float64]] = {}
    classes = {}
    for setting, of_setting in _first_trials(records).items():
        first = of_setting[0]
        matrices = _of_labels(first, request.data_dir)
        for record in of_setting:
            estimate = estimated(record, request.checkpoint_dir)
            matrices |= {} if estimate is None else {f"Estimated, {canvas.shown(record['method'])}": estimate}
        for name, matrix in matrices.items():
            panels[f"{name}\n{setting}"] = 100 * matrix
            classes[f"{name}\n{setting}"] = first["data"]["classes"]
    said = "Of the examples of each true class, the share that is labelled as each class (%), in the first trial."
    without = "" if any(name.startswith("Estimated") for name in panels) else " No method kept an estimate (keep=[weights])."
    return matrix_figure(request, panels, classes, 2, ("Given label", "True class"), said + without)


def _first_trials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each setting's lowest seed, one a method."""
    found: dict[str, list[Record]] = {}
    for record, setting in zip(records, setting_words(records), strict=True):
        found.setdefault(setting, []).append(record)
    return {setting: [each for each in of if each["seed"] == min(one["seed"] for one in of)] for setting, of in sorted(found.items())}


def _of_labels(record: Record, data_dir: Path) -> dict[str, NDArray[np.float64]]:
    """The true matrix where the noise states one, and the realised one."""
    from benchmark.redrawn import labels_of  # torch, which no other figure needs

    labels = labels_of(record, data_dir)
    realised = {"Realised": counted(labels.given, labels.true, len(record["data"]["classes"]))}
    return realised if labels.stated is None else {"True": labels.stated} | realised
