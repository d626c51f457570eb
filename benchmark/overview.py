"""The progress of a grid: counts of trials, remaining time, and cells by rank. This module imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.launching.look import KINDS, State, States
from benchmark.records.grids import Grid, GridCell

WAITING = ("pending", "preempted", "missing")
RANKS = ("running", "failed", "waiting", "done")  # the rank of a cell is the first one that one of its trials has


@dataclass(frozen=True)
class Row:
    """One cell with the states of its trials by seed."""

    cell: GridCell
    states: Mapping[int, State]

    @property
    def name(self) -> str:
        """The name of the cell for the user."""
        return " ".join([self.cell.label, self.cell.folder.rpartition("/")[0], *self.cell.options])

    @property
    def counts(self) -> Counter[str]:
        """The number of trials of each kind."""
        return Counter(state.kind for state in self.states.values())

    @property
    def rank(self) -> str:
        """The first of RANKS that one of its trials has."""
        kinds = {"waiting" if state.kind in WAITING else state.kind for state in self.states.values()}
        return next((rank for rank in RANKS if rank in kinds), "done")

    @property
    def accuracy(self) -> float | None:
        """The mean test accuracy of the finished trials; None if there is none."""
        found = [state.accuracy for state in self.states.values() if state.kind == "done" and state.accuracy is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Overview:
    """The state of a grid. rows: its cells, running and failed ones first; seconds: remaining time, None if unknown"""

    grid: Grid
    rows: Sequence[Row]
    counts: Counter[str]
    seconds: float | None

    @property
    def live(self) -> bool:
        """Whether a process trains or will train one of its trials."""
        return any(state.live for row in self.rows for state in row.states.values())

    @property
    def settled(self) -> bool:
        """Whether all trials are done or failed."""
        return self.counts["done"] + self.counts["failed"] == self.counts.total()

    def __str__(self) -> str:
        left = f"; about {duration(self.seconds)} left" if self.seconds is not None else ""
        counts = {**self.counts, "waiting": sum(self.counts[kind] for kind in WAITING)}
        others = [f"{counts[kind]:,} {kind}" for kind in ("running", "failed", "waiting") if counts.get(kind)]
        done = f"{self.counts['done']:,} of {self.counts.total():,} trials done"
        return f"grid {self.grid.name}: {', '.join([done, *others])}{left}"


def overview(grid: Grid, states: States) -> Overview:
    """The overview of a grid from the states of all its trials."""
    rows = [Row(cell, {seed: states[cell.key, seed] for seed in cell.seeds}) for cell in grid.cells]
    ranked = sorted(rows, key=lambda row: RANKS.index(row.rank))
    return Overview(grid, ranked, Counter(state.kind for state in states.values()), _seconds_left(rows))


def _seconds_left(rows: Iterable[Row]) -> float | None:
    """The remaining seconds if the number of running trials and their mean pace stay the same; None if no pace is known.

    A waiting trial counts with all its steps, at the pace of its cell, or at the mean pace of the grid if the cell has none.
    """
    rows = list(rows)
    paces = [_paces(row) for row in rows]
    known = [pace for each in paces for pace in each]
    if not known:
        return None
    work, longest, running = 0.0, 0.0, 0
    for row, mine in zip(rows, paces, strict=True):
        pace = fmean(mine or known)
        for state in row.states.values():
            if state.kind == "running":
                seconds = (row.cell.steps - state.step) * pace if state.seconds is None else state.seconds
                work, longest, running = work + seconds, max(longest, seconds), running + 1
            elif state.kind in WAITING:
                work += row.cell.steps * pace
    return max(longest, work / running)


def _paces(row: Row) -> list[float]:
    """The known seconds per step of the running trials."""
    left = [(state.seconds, row.cell.steps - state.step) for state in row.states.values() if state.kind == "running"]
    return [seconds / steps for seconds, steps in left if seconds is not None and steps > 0]


def counted(counts: Mapping[str, int]) -> str:
    """The counts of trials by kind, in words.

    >>> counted({"done": 3, "failed": 1})
    '3 done, 1 failed'
    """
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts.get(kind))


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration(3725.4)
    '1 h 2 min'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def percent(share: float | None) -> str:
    """A share as a percentage, '-' for None.

    >>> percent(0.98123)
    '98.12 %'
    """
    return "-" if share is None else f"{100 * share:.2f} %"


def described(state: State) -> str:
    """A state in words."""
    if state.kind == "done":
        return "diverged" if state.accuracy is None else f"done, test accuracy {percent(state.accuracy)}"
    log = f" (see {state.log})" if state.log else ""
    return f"{state.kind}{f': {state.text}' if state.text else ''}{log}"


def printable(text: str) -> str:
    """The text on one line without control characters, because other users may write the files that contain it.

    >>> printable("two\\nlines")
    'two lines'
    """
    return "".join(each if each.isprintable() else " " for each in text)
