"""How far the list can be trusted: recall from planted errors, precision from marks or, before any mark, from a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmark.audit.calibration import Estimate, Marked, marked_count, probabilities, recall
from benchmark.audit.confident import wrong_labels
from benchmark.audit.judging import Judged
from benchmark.audit.marks import Mark, counted, sampled
from benchmark.audit.planted import KINDS
from datasets.streams import numpy_stream

FEW, MANY = 100, 500  # examples of a list, without the option --top
LENGTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

CANNOT = (
    "Planted errors cannot show everything. They hit examples at random, and real errors gather where labels are hard: at ambiguous, "
    "unusual or damaged examples. Recall on real errors is therefore often lower, above all where a whole group has one wrong label.",
    "A planted error is one of your classes. Examples of no class at all, and classes that are defined badly, are not measured.",
)
ASSUMED = (
    "Without marks, precision comes from a mixture of right and wrong labels. It assumes that wrong labels rank as planted ones do, and "
    "that everything above the median planted error is wrong. The second one makes it rather too high, and real "
    "errors that are harder than planted ones make it too low. Mark a random sample to measure it.",
)
MEASURED = (
    "Precision comes from marks on a random sample of each length: its examples in the order 'random sample' up to the first one without a "
    "mark. Other marks do not count here. The interval counts unsure marks as right at its lower end and as wrong at its upper end, and is "
    "wider than needed where most of a length is marked.",
)


class Row(NamedTuple):
    """One length of the list, with its measures in words."""

    length: int
    recall: str
    uniform: str
    confused: str
    precision: str


@dataclass(frozen=True)
class Trust:
    """The measures of a list.

    top: its length; lengths: a row for each shorter length and for itself; estimate, reading: sentences
    probability: that the label is wrong, by position, (n,); examples that are marked right or wrong have 0 or 1
    marked: the marks of the random sample of the length that has most of them
    sample_place: place of each listed position in the random order, from 1
    """

    top: int
    lengths: list[Row]
    estimate: str
    reading: list[str]
    probability: np.ndarray
    marked: Marked
    sample_place: dict[int, int]


def measured(judged: Judged, labels: np.ndarray, marks: Mapping[int, Mark], top: int | None, seed: int) -> Trust:
    """Return the measures of the list. labels: given labels, (n,); top: length of the list; None takes one that fits the estimate"""
    n, order = len(labels), judged.scores.order
    top = min(n, top or min(MANY, max(FEW, 2 * round(judged.count))))
    sample = _random_order(order[:top], n, seed)
    ranks = {int(position): rank for rank, position in enumerate(order[:top], start=1)}
    lengths = [*(length for length in LENGTHS if length < top), top]
    marked = {length: counted(marks, sampled(marks, [each for each in sample if ranks[each] <= length])) for length in lengths}
    best = max(lengths, key=lambda length: (marked[length].n, length))
    measures = marked[best].wrong + marked[best].right > 0
    count = marked_count(judged.curve, best, marked[best].precision.value, n) if measures else judged.count
    by_rank = probabilities(judged.curve, count)
    return Trust(
        top,
        [_row(judged, length, marked[length], by_rank) for length in lengths],
        _estimate(judged, labels, count, marked[best], best),
        _reading(judged, marked[best]),
        _probability(order, by_rank, marks),
        marked[best],
        {position: place for place, position in enumerate(sample, start=1)},
    )


def _probability(order: np.ndarray, by_rank: np.ndarray, marks: Mapping[int, Mark]) -> np.ndarray:
    """Return the probability of being wrong by position, (n,); examples that are marked right or wrong have 0 or 1."""
    probability = np.empty(len(order))
    probability[order] = by_rank
    for position, mark in marks.items():
        if mark.mark != "unsure":
            probability[position] = float(mark.mark == "wrong")
    return probability


def _random_order(listed: np.ndarray, n: int, seed: int) -> list[int]:
    """Return the list in a random order, which depends neither on its length nor on ranks."""
    keys = numpy_stream(seed, "audit sample").random(n)
    return [int(position) for position in listed[np.argsort(keys[listed], kind="stable")]]


def _row(judged: Judged, length: int, marked: Marked, by_rank: np.ndarray) -> Row:
    ranks, kinds = judged.planted_ranks, judged.planted.kinds
    every, uniform, confused = (recall(ranks[part], length) for part in (kinds >= 0, kinds == 0, kinds == 1))
    precision = percent(marked.precision) + f" of {marked.n} marks" if marked.n else f"{by_rank[:length].mean():.0%}, not measured"
    return Row(length, percent(every), percent(uniform), percent(confused), precision)


def percent(share: Estimate) -> str:
    """Return a share with its interval.

    >>> percent(Estimate(0.5, 0.25, 0.75))
    '50 (25 to 75)'
    """
    return f"{100 * share.value:.0f} ({100 * share.low:.0f} to {100 * share.high:.0f})"


def _estimate(judged: Judged, labels: np.ndarray, count: float, marked: Marked, length: int) -> str:
    n = len(labels)
    confident = f"Confident learning counts {wrong_labels(judged.scores.probabilities, labels):,.0f}."
    about = f"About {count:,.0f} of {n:,} labels are wrong"
    if not marked.n:
        return f"{about}, by a mixture of right and wrong labels and without any mark. {confident}"
    return (
        f"{about}, by {marked.n} marks of a random sample of the first {length:,}: {marked.wrong} wrong, {marked.right} right, "
        f"{marked.unsure} unsure, so {percent(marked.precision)} % of these are wrong. {confident}"
    )


def _reading(judged: Judged, marked: Marked) -> list[str]:
    planted = np.bincount(judged.planted.kinds, minlength=len(KINDS))
    how: Sequence[str] = (
        f"For the recall, {planted.sum()} labels were changed on purpose in a second training, and restored: {planted[0]} to any class, "
        f"and {planted[1]} along the confusion between classes. The rank of each is its rank among the labels that were not changed.",
    )
    return [*how, *CANNOT, *(MEASURED if marked.n else ASSUMED)]
