"""Signals: which of them stop training after a step, and which do not reach the processes that a command starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Stoppable(Protocol):
    """What is to stop. stopped_by: the number of the signal that says so, or 0"""

    stopped_by: int


@contextmanager
def stopping_on_signals(work: Stoppable) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM, SIGUSR2 or SIGHUP stops after the step, with a checkpoint; a second one stops at once.

    But a second SIGHUP is ignored, as a terminal that closes may send two, and so is every one where it was before, as under nohup.
    """

    def handle(number: int, _: FrameType | None) -> None:
        work.stopped_by = number
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)

    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, *([] if nohup else [signal.SIGHUP])]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def out_of_reach_of_the_terminal() -> Iterator[None]:
    """Processes that start here receive neither Ctrl-C nor the terminal's end: the command passes it on, with time for a checkpoint."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
