"""Which evaluation of a trial a table shows: the last one, or one that validation labels choose."""

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
    """A way to choose among the evaluations of a trial's last phase; all but `equal_compute` choose nothing that came before it.

    words: as a caption has them
    by: the metric whose highest value chooses, at the earliest of equal ones; '' for the ways without one
    sees: what it uses that methods do not see, in words
    """

    words: str
    by: str = ""
    sees: str = ""


LAST = "last"
EQUAL_COMPUTE = "equal_compute"
MEASURED = 0.01  # by which costs that are measured vary: what costs so much more costs the same
SELECTIONS = {
    LAST: Selection("the last step"),
    "noisy_validation": Selection(
        "the evaluation of the last phase with the highest accuracy on the given labels of the hyper-validation set",
        by="hyper_validation_accuracy_on_given_labels",
    ),
    "clean_validation": Selection(
        "the evaluation of the last phase with the highest accuracy on the true labels of the hyper-validation set",
        by="hyper_validation_accuracy",
        sees="clean validation labels",
    ),
    "oracle": Selection(
        "the evaluation of the last phase with the highest test accuracy; it looks at the test set and is an upper bound, no fair result",
        by="test_accuracy",
    ),
    "last5": Selection("the mean over the last five evaluations of the last phase"),
    EQUAL_COMPUTE: Selection(
        "the last evaluation, in whichever phase, at which a trial has cost at most as much as the whole of plain training, by its steps"
        " and the measured mean seconds per step of its method; a method that costs more is judged before the later decays of its learning"
        " rate, so a shorter schedule of its own may serve it better"
    ),
}


def value(record: Record, metric: Metric, selection: str = LAST) -> float:
    """The metric in its unit, at the evaluation that the selection chooses; NaN where the trial diverged or lacks it there.

    record: with its `history` for all selections but the last step
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
    """The places of the chosen evaluations in the history; none where it lacks what chooses."""
    places = _last_phase(history)
    by = SELECTIONS[selection].by
    if not by:
        return places[-5:]
    scores = history.get(by, [None] * places.stop)
    scored = [place for place in places if scores[place] is not None]
    return [max(scored, key=scores.__getitem__)] if scored else []


def _affordable(record: Record) -> list[int]:
    """The place of the last evaluation that costs no more than plain training; none where the cost is unknown or the first costs more.

    Plain training takes `trainer.steps` steps, of cost 1 each.
    """
    cost, history = record["metrics"].get("relative_seconds", math.inf), record["history"]
    budget = record["config"]["trainer"]["steps"] * (1 + MEASURED)
    steps, starts = history["step"], _starts(history)
    before = [sum(steps[start - 1] for start in starts if start <= place) for place in range(len(steps))]  # in earlier phases
    return [place for place, step in enumerate(steps) if (before[place] + step) * cost <= budget][-1:]


def _last_phase(history: Mapping[str, Sequence[Any]]) -> range:
    """The places of its evaluations."""
    return range(max(_starts(history), default=0), len(history["step"]))


def _starts(history: Mapping[str, Sequence[Any]]) -> list[int]:
    """The places at which a phase after the first starts. Steps count from the start of each phase, and two phases may have one name."""
    phases, steps = history["phase"], history["step"]
    return [place for place in range(1, len(steps)) if phases[place] != phases[place - 1] or steps[place] <= steps[place - 1]]


def check_selection(name: str, records: Sequence[Record]) -> None:
    """Raises UserError for a selection that does not exist, with the nearest, or that none of the finished trials can serve."""
    if name not in SELECTIONS:
        raise unknown("selection", name, SELECTIONS)
    by, finished = SELECTIONS[name].by, [record for record in records if record["status"] != "diverged"]
    if name == EQUAL_COMPUTE and finished and not any("relative_seconds" in record["metrics"] for record in finished):
        raise UserError(
            f"--select {name} needs the measured cost of these methods on their model and data set, which --cost FILE names and"
            " `python -m benchmark.speed cost` measures"
        )
    if by and finished and not any(by in record["history"] for record in finished):
        if any(SELECTIONS["noisy_validation"].by in record["history"] for record in finished):
            raise UserError(f"--select {name} needs true labels of the hyper-validation set, and none of these records knows them")
        raise UserError(f"--select {name} needs a hyper-validation set, and none of these records has one (split.hyper_validation)")
