"""What a grid comes to: counts of its trials, the time that is left, and its cells in the order in which they matter. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.launching.look import KINDS, State, States
from benchmark.records.grids import Grid, GridCell

WAITING = ("pending", "preempted", "missing")
RANKS = ("running", "failed", "waiting", "done")  # the first that one of a cell's trials has is the cell's


@dataclass(frozen=True)
class Row:
    """One cell with the states of its trials by their seeds."""

    cell: GridCell
    states: Mapping[int, State]

    @property
    def name(self) -> str:
        """The cell as the user reads it."""
        return " ".join([self.cell.label, self.cell.folder.rpartition("/")[0], *self.cell.options])

    @property
    def counts(self) -> Counter[str]:
        """How many trials are of each kind."""
        return Counter(state.kind for state in self.states.values())

    @property
    def rank(self) -> str:
        """The first of RANKS that one of its trials has."""
        kinds = {"waiting" if state.kind in WAITING else state.kind for state in self.states.values()}
        return next((rank for rank in RANKS if rank in kinds), "done")

    @property
    def accuracy(self) -> float | None:
        """The mean test accuracy of the finished trials, None where there is none."""
        found = [state.accuracy for state in self.states.values() if state.kind == "done" and state.accuracy is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Overview:
    """A grid at one look. rows: its cells, those that run or failed first"""

    grid: Grid
    rows: Sequence[Row]
    counts: Counter[str]
    seconds: float | None

    @property
    def live(self) -> bool:
        """Whether somebody trains or will train one of its trials."""
        return any(state.live for row in self.rows for state in row.states.values())

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.counts["done"] + self.counts["failed"] == self.counts.total()

    def __str__(self) -> str:
        left = f"; about {duration(self.seconds)} left" if self.seconds is not None else ""
        counts = {**self.counts, "waiting": sum(self.counts[kind] for kind in WAITING)}
        others = [f"{counts[kind]:,} {kind}" for kind in ("running", "failed", "waiting") if counts.get(kind)]
        done = f"{self.counts['done']:,} of {self.counts.total():,} trials done"
        return f"grid {self.grid.name}: {', '.join([done, *others])}{left}"


def overview(grid: Grid, states: States) -> Overview:
    """The overview of these states of all trials of the grid."""
    rows = [Row(cell, {seed: states[cell.key, seed] for seed in cell.seeds}) for cell in grid.cells]
    ranked = sorted(rows, key=lambda row: RANKS.index(row.rank))
    return Overview(grid, ranked, Counter(state.kind for state in states.values()), _seconds_left(rows))


def _seconds_left(rows: Iterable[Row]) -> float | None:
    """Seconds to the end, should as many trials run at once as now, at the mean pace of those that run; None where no pace is known.

    A trial that waits counts with all its steps, at the pace of its own cell where that is known.
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
    """Seconds a step of each trial that runs, as far as they are known."""
    left = [(state.seconds, row.cell.steps - state.step) for state in row.states.values() if state.kind == "running"]
    return [seconds / steps for seconds, steps in left if seconds is not None and steps > 0]


def counted(counts: Mapping[str, int]) -> str:
    """Counts of trials by kind, as a list in words.

    >>> counted({"done": 3, "failed": 1})
    '3 done, 1 failed'
    """
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts.get(kind))


def duration(seconds: float) -> str:
    """A time in its two largest units.

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


def said(state: State) -> str:
    """A state in words."""
    if state.kind == "done":
        return "diverged" if state.accuracy is None else f"done, test accuracy {percent(state.accuracy)}"
    log = f" (see {state.log})" if state.log else ""
    return f"{state.kind}{f': {state.text}' if state.text else ''}{log}"


def printable(text: str) -> str:
    """The text on one line, without what a terminal could take for a command: others may have written the files that it comes from.

    >>> printable("two\\nlines")
    'two lines'
    """
    return "".join(each if each.isprintable() else " " for each in text)
