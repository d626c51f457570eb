"""Parts of a schedule, by their shares."""

from __future__ import annotations

from itertools import pairwise

from methods.schedules import Schedule


def split(schedule: Schedule, *shares: float) -> list[Schedule]:
    """The parts of a schedule between 0, each of `shares`, which ascend in [0, 1], and 1; together they have all of its steps.

    >>> [part.steps for part in split(Schedule(100), 0.25, 0.5)]
    [25, 25, 50]
    """
    bounds = [0, *(round(share * schedule.steps) for share in shares), schedule.steps]
    return [schedule.part(begin, end) for begin, end in pairwise(bounds)]
