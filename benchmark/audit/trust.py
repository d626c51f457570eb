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
    "that everything above the median planted error is wrong. The second assumption makes it rather too high. Mark a random sample to "
    "measure it.",
)
MEASURED = (
    "Precision comes from marks on a random sample of the list: the examples in the order 'random sample' up to the first one without a "
    "mark. Other marks do not count here. The interval counts unsure marks as right at its lower end and as wrong at its upper end.",
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
    """top: length of the list; lengths: a row for each length; estimate, reading: sentences

    probability: that the label is wrong, by position, (n,); marked examples have 0 or 1
    marked: the marks of the random sample; sample_place: place of each listed position in the random order, from 1
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
    inside = sampled(marks, sample)
    marked = counted(marks, inside)
    count = marked_count(judged.curve, top, marked.precision.value, n) if marked.wrong + marked.right else judged.count
    by_rank = probabilities(judged.curve, count)
    probability = np.empty(n)
    probability[order] = by_rank
    for position, mark in marks.items():
        if mark.mark != "unsure":
            probability[position] = float(mark.mark == "wrong")
    ranks = {int(position): rank for rank, position in enumerate(order[:top], start=1)}
    lengths = [
        _row(judged, length, counted(marks, [each for each in inside if ranks[each] <= length]), by_rank)
        for length in [*(length for length in LENGTHS if length < top), top]
    ]
    places = {int(position): place for place, position in enumerate(sample, start=1)}
    return Trust(top, lengths, _estimate(judged, labels, count, marked, top), _reading(judged, marked), probability, marked, places)


def _random_order(listed: np.ndarray, n: int, seed: int) -> list[int]:
    """Return the list in a random order, which depends neither on its length nor on ranks."""
    keys = numpy_stream(seed, "audit sample").random(n)
    return [int(position) for position in listed[np.argsort(keys[listed], kind="stable")]]


def _row(judged: Judged, length: int, marked: Marked, by_rank: np.ndarray) -> Row:
    ranks, kinds = judged.planted_ranks, judged.planted.kinds
    every, uniform, confused = (recall(ranks[part], length) for part in (kinds >= 0, kinds == 0, kinds == 1))
    words = [percent(each) if len(ranks) else "not measured" for each in (every, uniform, confused)]
    precision = percent(marked.precision) + f" of {marked.n} marks" if marked.n else f"{by_rank[:length].mean():.0%}, not measured"
    return Row(length, words[0], words[1], words[2], precision)


def percent(share: Estimate) -> str:
    """Return a share with its interval.

    >>> percent(Estimate(0.5, 0.25, 0.75))
    '50 (25 to 75)'
    """
    return f"{100 * share.value:.0f} ({100 * share.low:.0f} to {100 * share.high:.0f})"


def _estimate(judged: Judged, labels: np.ndarray, count: float, marked: Marked, top: int) -> str:
    n = len(labels)
    confident = f"Confident learning counts {wrong_labels(judged.scores.probabilities, labels):,.0f}."
    about = f"About {count:,.0f} of {n:,} labels are wrong"
    if not marked.n:
        return f"{about}, by a mixture of right and wrong labels and without any mark. {confident}"
    return (
        f"{about}, by {marked.n} marks of a random sample of the first {top:,}: {marked.wrong} wrong, {marked.right} right, "
        f"{marked.unsure} unsure, so {percent(marked.precision)} % of the list are wrong. {confident}"
    )


def _reading(judged: Judged, marked: Marked) -> list[str]:
    planted = np.bincount(judged.planted.kinds, minlength=len(KINDS))
    if not planted.sum():
        return [*(MEASURED if marked.n else ASSUMED)]
    how: Sequence[str] = (
        f"For the recall, {planted.sum()} labels were changed on purpose in a second training, and restored: {planted[0]} to any class, "
        f"and {planted[1]} along the confusion between classes. The rank of each is its rank among the labels that were not changed.",
    )
    return [*how, *CANNOT, *(MEASURED if marked.n else ASSUMED)]
