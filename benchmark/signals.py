"""Signals: those that stop training after a step, and those that do not reach the child processes of a command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Stoppable(Protocol):
    """An object that a signal stops. stopped_by: the number of the signal, or 0"""

    stopped_by: int


@contextmanager
def stopping_on_signals(work: Stoppable) -> Iterator[None]:
    """Context in which the first Ctrl-C, SIGTERM, SIGUSR2 or SIGHUP stops after the step, with a checkpoint; a second one stops at once.

    A second SIGHUP is ignored, because a closing terminal may send two. Every SIGHUP is ignored if it was ignored before, as under nohup.
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
    """Context whose child processes receive neither Ctrl-C nor SIGHUP: the command forwards them, with time for a checkpoint."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
