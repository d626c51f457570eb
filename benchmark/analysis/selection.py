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
    """A way to choose among the evaluations of a trial's last phase; what came before that phase is never chosen.

    words: as a caption has them
    by: the metric whose highest value chooses, at the earliest of equal ones; '' for the ways without one
    sees: what it uses that methods do not see, in words
    """

    words: str
    by: str = ""
    sees: str = ""


LAST = "last"
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
    values = [column[place] for place in _chosen(history, selection) if column[place] is not None] if column else []
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


def _last_phase(history: Mapping[str, Sequence[Any]]) -> range:
    """The places of its evaluations. Steps are counted from the start of each phase, and two phases may have one name."""
    phases, steps = history["phase"], history["step"]
    starts = (place for place in range(1, len(steps)) if phases[place] != phases[place - 1] or steps[place] <= steps[place - 1])
    return range(max(starts, default=0), len(steps))


def check_selection(name: str, records: Sequence[Record]) -> None:
    """Raises UserError for a selection that does not exist, with the nearest, or that none of the finished trials can serve."""
    if name not in SELECTIONS:
        raise unknown("selection", name, SELECTIONS)
    by, finished = SELECTIONS[name].by, [record for record in records if record["status"] != "diverged"]
    if by and finished and not any(by in record["history"] for record in finished):
        if any(SELECTIONS["noisy_validation"].by in record["history"] for record in finished):
            raise UserError(f"--select {name} needs true labels of the hyper-validation set, and none of these records knows them")
        raise UserError(f"--select {name} needs a hyper-validation set, and none of these records has one (split.hyper_validation)")
