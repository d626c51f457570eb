"""The display of training: a progress bar over the steps of all missing trials, and lines above it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Protocol

from tqdm import tqdm

from benchmark import trial
from benchmark.config import Cell
from benchmark.records.claims import Holder
from benchmark.trial import Trial

# The important parts come first, because a terminal cuts long lines at the end.
FORMAT = "{percentage:3.0f}%|{bar}| {remaining} left, {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}] {desc}"


def name(cell: Cell, seed: int) -> str:
    """The name of the trial for the user."""
    return f"{cell.label}, seed {seed}"


class Display(Protocol):
    """Receives reports of training, and asks it to stop. A trial is its index among the missing trials."""

    def begin(self, number: int) -> None:
        """The trial starts at step 0. For a checkpoint, `stepped` reports its steps."""

    def end(self, number: int) -> None:
        """The trial no longer trains in this process, settled or not."""

    def stepped(self, number: int, steps: int) -> None:
        """The trial made this number of steps."""

    def settled(self, number: int) -> None:
        """The trial has its record or failed, in this process or another one."""

    def failed(self, number: int, reason: str) -> None:
        """The trial failed in this process."""

    def write(self, text: str) -> None:
        """Show a line."""

    def waiting_for(self, number: int, holder: Holder | None, count: int) -> None:
        """No trial is free: other processes train the last `count` trials, and `holder` trains this one."""

    def stopping(self) -> bool:
        """Whether training must stop."""


class Steps(tqdm):
    """A bar with a lock of its process. Forked processes share tqdm's lock, and a process that is killed while it writes keeps it."""

    _lock = threading.RLock()
    monitor_interval = 0  # no monitor thread, because it could hold the lock during a fork


class Bar:
    """The Display of a terminal.

    unsettled: the trials without a reported record or failure; failures: a line for each failed trial
    stopped_by: the signal that asks to stop, or 0
    """

    def __init__(self, missing: Sequence[Trial]) -> None:
        self._names = [name(cell, seed) for cell, seed in missing]
        self._steps = [trial.steps(cell) for cell, _ in missing]
        self._at = [0] * len(missing)  # the step of each trial
        self._running: list[int] = []
        interval = 0.2 if sys.stderr.isatty() else 10
        self._bar = Steps(total=sum(self._steps), unit="step", mininterval=interval, miniters=1, dynamic_ncols=True, bar_format=FORMAT)
        self._waiting = ""
        self.unsettled = set(range(len(missing)))
        self.stopped_by = 0
        self.failures: list[str] = []

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, number: int) -> None:
        self._running.append(number)
        self._describe()
        self.reach(number, 0)

    def end(self, number: int) -> None:
        self._running.remove(number)
        self._describe()

    def _describe(self) -> None:
        if self._running:
            first, *others = self._running
            self._bar.set_description_str(f"{self._names[first]}{f' and {len(others)} more' if others else ''}")

    def reach(self, number: int, step: int) -> None:
        """The trial is at this step."""
        step = min(step, self._steps[number])
        self._bar.update(step - self._at[number])
        self._at[number] = step

    def stepped(self, number: int, steps: int) -> None:
        self.reach(number, self._at[number] + steps)

    def settled(self, number: int) -> None:
        self.unsettled.discard(number)
        self.reach(number, self._steps[number])

    def failed(self, number: int, reason: str) -> None:
        self.failures.append(f"{self._names[number]}: {reason}")
        self.settled(number)

    def write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def waiting_for(self, number: int, holder: Holder | None, count: int) -> None:
        others = f"; {count - 1} more trials are running" if count > 1 else ""
        text = f"{self._names[number]}: waiting for {holder or 'another process'}{others}"
        if not self._running and text != self._waiting:  # once
            self._waiting = text
            self.write(text)

    def stopping(self) -> bool:
        return self.stopped_by != 0
