"""The evaluation of a trial that a table shows: the last one, or one selected by validation labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.analysis.cost import COST
from benchmark.metrics import Metric
from benchmark.records.store import Record
from robust_benchmark.errors import UserError, unknown


@dataclass(frozen=True)
class Selection:
    """A way to select an evaluation of a trial. All ways but `equal_compute` select from the last phase.

    words: its description in captions
    by: the metric whose highest value selects the evaluation (the earliest if values are equal), or ''
    sees: information that it uses in addition to the method, in words
    """

    words: str
    by: str = ""
    sees: str = ""


LAST = "last"
EQUAL_COMPUTE = "equal_compute"
MEASURED = 0.03  # error of measured costs, so smaller differences count as equal: plain training, measured against itself, gives up to 1.02
SELECTIONS = {
    LAST: Selection("the last step"),
    "noisy_validation": Selection(
        "the evaluation of the last phase with the highest accuracy on noisy validation labels",
        by="hyper_validation_accuracy_on_given_labels",
    ),
    "clean_validation": Selection(
        "the evaluation of the last phase with the highest accuracy on true validation labels",
        by="hyper_validation_accuracy",
        sees="clean validation labels",
    ),
    "oracle": Selection(
        "the evaluation of the last phase with the highest test accuracy, an upper bound and not a fair result",
        by="test_accuracy",
    ),
    "last5": Selection("the mean over the last five evaluations of the last phase"),
    EQUAL_COMPUTE: Selection(
        "the last evaluation of any phase up to the total cost of plain training, by steps and measured seconds per step; a method that"
        " costs more stops before its later learning-rate decays, so a shorter schedule may give better results"
    ),
}


def value(record: Record, metric: Metric, selection: str = LAST) -> float:
    """The metric in its unit at the selected evaluation; NaN if the trial diverged or this evaluation lacks the metric.

    record: must contain `history`, unless the selection is the last step
    """
    if record["status"] == "diverged":
        return math.nan
    if selection == LAST or metric.name in COST:
        return metric.of(record["metrics"])
    history = record["history"]
    column = history.get(metric.kept)
    places = _affordable(record) if selection == EQUAL_COMPUTE else _chosen(history, selection)
    values = [column[place] for place in places if column[place] is not None] if column else []
    return metric.of({metric.kept: sum(values) / len(values)}) if values else math.nan


def _chosen(history: Mapping[str, Sequence[Any]], selection: str) -> Sequence[int]:
    """The indices of the selected evaluations in the history; empty if the history lacks the selecting metric."""
    places = _last_phase(history)
    by = SELECTIONS[selection].by
    if not by:
        return places[-5:]
    scores = history.get(by, [None] * places.stop)
    scored = [place for place in places if scores[place] is not None]
    return [max(scored, key=scores.__getitem__)] if scored else []


def _affordable(record: Record) -> list[int]:
    """The index of the last evaluation that costs at most as much as plain training; empty if there is none or the cost is unknown.

    Plain training takes `trainer.steps` steps of cost 1.
    """
    cost, history = record["metrics"].get("relative_seconds", math.inf), record["history"]
    budget = record["config"]["trainer"]["steps"] * (1 + MEASURED)
    steps, starts = history["step"], _starts(history)
    before = [sum(steps[start - 1] for start in starts if start <= place) for place in range(len(steps))]  # in earlier phases
    return [place for place, step in enumerate(steps) if (before[place] + step) * cost <= budget][-1:]


def _last_phase(history: Mapping[str, Sequence[Any]]) -> range:
    """The indices of its evaluations."""
    return range(max(_starts(history), default=0), len(history["step"]))


def _starts(history: Mapping[str, Sequence[Any]]) -> list[int]:
    """The indices at which later phases start. Steps count from the start of each phase, and two phases may have the same name."""
    phases, steps = history["phase"], history["step"]
    return [place for place in range(1, len(steps)) if phases[place] != phases[place - 1] or steps[place] <= steps[place - 1]]


def check_selection(name: str, records: Sequence[Record]) -> None:
    """Raises UserError for an unknown selection, with the nearest name, and for one that no finished trial supports."""
    if name not in SELECTIONS:
        raise unknown("selection", name, SELECTIONS)
    by, finished = SELECTIONS[name].by, [record for record in records if record["status"] != "diverged"]
    if name == EQUAL_COMPUTE and finished and not any("relative_seconds" in record["metrics"] for record in finished):
        raise UserError(
            f"--select {name} needs the measured cost of these methods with their model and data set (--cost FILE);"
            " `python -m benchmark.speed cost` measures it"
        )
    if by and finished and not any(by in record["history"] for record in finished):
        if any(SELECTIONS["noisy_validation"].by in record["history"] for record in finished):
            raise UserError(f"--select {name} needs true labels of the hyper-validation set, and none of these records has them")
        raise UserError(f"--select {name} needs a hyper-validation set, and none of these records has one (split.hyper_validation)")
