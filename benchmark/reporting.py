"""Between a trainer and those who watch it: what they hear of evaluations, without any change of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from benchmark.training.trainer import Trainer, Watch


class Listener(Watch, Protocol):
    """A Watch that hears of evaluations too."""

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated. metrics: by the names of records; those that are undefined are left out"""


class Reporter(Watch):
    """The Watch of one trainer, which hands all on to a listener, and its start and evaluations to an observer's two methods.

    trainer: the one that it watches, to be set before that trains
    """

    trainer: Trainer

    def __init__(self, listener: Listener, started: Callable[[int], None], evaluated: Callable[[int, Mapping[str, float]], None]) -> None:
        self._listener, self._started, self._evaluated = listener, started, evaluated
        self._step = 0
        self._reported = 0  # evaluations

    def stepped(self, steps: int = 1) -> None:
        if self._step == 0:
            progress = self.trainer.progress
            self._reported = len(progress.history)  # those of the checkpoint
            self._started(steps if progress.train_seconds else 0)  # a checkpoint has some, and the first step of all has none yet
        self._step += steps
        self._listener.stepped(steps)

    def stopping(self) -> bool:
        self.report()
        return self._listener.stopping()

    def report(self) -> None:
        """Hand on what was evaluated since the last call: the trainer asks whether to stop after each step, unless it diverged."""
        for entry in self.trainer.progress.history[self._reported :]:
            metrics = {name: value for name, value in entry.items() if name not in ("phase", "step") and value is not None}
            self._listener.evaluated(metrics)
            self._evaluated(self._step, metrics)
        self._reported = len(self.trainer.progress.history)
