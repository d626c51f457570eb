"""Reports of a trainer's steps and evaluations to a listener and an observer, without changes in the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from benchmark.training.trainer import Trainer, Watch


class Listener(Watch, Protocol):
    """A Watch that also receives evaluations."""

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated. metrics: by their names in records, without undefined ones"""


class Reporter(Watch):
    """The Watch of one trainer. It passes everything to a listener, and the start and the evaluations to two methods of an observer.

    trainer: the watched trainer; must be set before it trains
    """

    trainer: Trainer

    def __init__(self, listener: Listener, started: Callable[[int], None], evaluated: Callable[[int, Mapping[str, float]], None]) -> None:
        self._listener, self._started, self._evaluated = listener, started, evaluated
        self._step = 0
        self._reported = 0  # evaluations

    def stepped(self, steps: int = 1) -> None:
        if self._step == 0:
            progress = self.trainer.progress
            self._reported = len(progress.history)  # evaluations of the checkpoint
            self._started(steps if progress.train_seconds else 0)  # zero at the very first step, positive after a checkpoint
        self._step += steps
        self._listener.stepped(steps)

    def stopping(self) -> bool:
        self.report()
        return self._listener.stopping()

    def report(self) -> None:
        """Report the evaluations since the last call. The trainer calls `stopping` after each step, unless training diverged."""
        for entry in self.trainer.progress.history[self._reported :]:
            metrics = {name: value for name, value in entry.items() if name not in ("phase", "step") and value is not None}
            self._listener.evaluated(metrics)
            self._evaluated(self._step, metrics)
        self._reported = len(self.trainer.progress.history)
