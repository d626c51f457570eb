"""suspects.csv: all examples, from the most to the least suspicious, with the evidence of each method."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.audit.calibration import recall
from benchmark.audit.data import Audited
from benchmark.audit.judging import Judged
from robust_benchmark.files import whole

ROWS = 20_000  # rows in memory at once, so that the memory does not grow with the number of methods
DIGITS = 6


def write_suspects(path: Path, data: Audited, judged: Judged, probability: np.ndarray) -> None:
    """Write the list. probability: that the label is wrong, by position, (n,)"""
    order = judged.scores.order
    with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        for start in range(0, len(order), ROWS):
            columns = _columns(data, judged, probability, order[start : start + ROWS], start)
            if start == 0:
                lines.writerow(columns)
            lines.writerows(zip(*columns.values(), strict=True))


def _columns(data: Audited, judged: Judged, probability: np.ndarray, positions: np.ndarray, start: int) -> dict[str, list[Any]]:
    """Return the columns of some rows; `start` is the number of rows before them."""
    scores, classes = judged.scores, data.classes
    ranks = range(start + 1, start + len(positions) + 1)
    found = [recall(judged.planted_ranks, rank) for rank in ranks]
    columns: dict[str, list[Any]] = {
        "rank": list(ranks),
        "name": [data.names[position] for position in positions],
        "given": [classes[label] for label in data.labels[positions]],
        "suggested": [classes[label] for label in scores.suggested[positions]],
        "probability_wrong": _numbers(probability[positions]),
        "suspicion": _numbers(scores.suspicion[positions]),
        "disagreement": _numbers(scores.disagreement[positions]),
        "confident_learning": _numbers(scores.confident[positions]),
    }
    for place, name in enumerate(("recall_to_here", "recall_low", "recall_high")):
        columns[name] = [round(each[place], 4) for each in found]
    for method, file in judged.evidence.items():
        columns |= _of_method(method, file, positions, classes)
    return columns


def _of_method(method: str, file: Path, positions: np.ndarray, classes: tuple[str, ...]) -> dict[str, list[Any]]:
    with np.load(file) as arrays:
        found = {f"{method}.{name}": arrays[name][positions] for name in arrays.files}
    return {
        name: [classes[label] for label in values] if name.endswith(".prediction") else _numbers(values) for name, values in found.items()
    }


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
