"""`benchmark.status --watch`: grids as they go on, as a view in a terminal and as lines elsewhere. No torch here."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Protocol

from benchmark.launching import jobs
from benchmark.launching.look import Looker
from benchmark.overview import Overview, Row, overview, printable, said
from benchmark.records.grids import Grid, TrialId
from robust_benchmark.errors import UserError

ASK_SECONDS = 15.0  # between questions to SLURM
PATIENCE = 60.0  # for somebody to train, at least: a command takes a while to start
SHARE = 9  # looking takes at most the tenth part of the time


class Screen(Protocol):
    """Where the overviews are shown."""

    def show(self, grids: Sequence[Overview]) -> None:
        """Show this look at all grids."""


def watch(found: Sequence[Grid], every: float) -> int:
    """Show the grids until nothing is left to do, or nobody has trained them for long; returns 1 where a trial failed, else 0.

    every: seconds between two looks
    """
    shown: Sequence[Overview] = ()
    with _screen() as screen:
        for shown in _looks(found, every):
            screen.show(shown)
    left = [each for each in shown if not each.settled]
    for each in left:
        print(f"grid {each.grid.name}: nobody trains it any more; run its command again to finish it")
    return 1 if any(each.counts["failed"] for each in shown) else 0


@contextlib.contextmanager
def _screen() -> Iterator[Screen]:
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        yield Lines()
        return
    from benchmark.view import View  # rich, which nothing else needs

    previous = signal.signal(signal.SIGTERM, _leave)  # so that the terminal is left in order
    try:
        with View() as view:
            yield view
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _looks(found: Sequence[Grid], every: float) -> Iterator[list[Overview]]:
    """All grids again and again, until all are settled or have been left alone for long enough."""
    lookers, known, asked, moved = [Looker(grid) for grid in found], dict[str, str](), -ASK_SECONDS, time.monotonic()
    patience = max([PATIENCE, *(grid.claim_seconds for grid in found)])
    while True:
        began = time.monotonic()
        if began - asked >= ASK_SECONDS:
            asked, known = began, _known(found, known)
        shown = [overview(looker.grid, looker.look(known)) for looker in lookers]
        yield shown
        ended = time.monotonic()
        moved = ended if any(each.live for each in shown) else moved
        if all(each.settled for each in shown) or ended - moved > patience:
            return
        time.sleep(max(every, SHARE * (ended - began)))


def _known(found: Sequence[Grid], before: dict[str, str]) -> dict[str, str]:
    """The state of each task; what was known before where SLURM does not answer for a while."""
    try:
        return jobs.states([each for grid in found for each in grid.submissions])
    except UserError:
        return before


class Lines:
    """A line for each change of a trial's state, and one for each grid at the first look and the last one."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, TrialId], str] = {}
        self._settled: dict[str, bool] = {}

    def show(self, grids: Sequence[Overview]) -> None:
        for each in grids:
            first = each.grid.name not in self._settled
            if first:
                print(each)
            for row in each.rows:
                self._show(each.grid.name, row, first)
            if each.settled and not first and not self._settled[each.grid.name]:
                print(each)
            self._settled[each.grid.name] = each.settled
        sys.stdout.flush()

    def _show(self, grid: str, row: Row, first: bool) -> None:
        for seed, state in row.states.items():
            trial = grid, (row.cell.key, seed)
            if self._before.get(trial) != state.kind and (not first or state.kind in ("running", "failed")):
                print(printable(f"{row.name}, seed {seed}: {said(state)}"))
            self._before[trial] = state.kind
