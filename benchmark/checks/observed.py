"""Observed training: the state after each step, and the point where training stops or dies."""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from benchmark import trial
from benchmark.checks.small import SEED, Kind, kinds
from benchmark.config import Cell
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.graphs import changed, leaves
from benchmark.training.running import Running
from benchmark.training.threads import CPU
from benchmark.training.trainer import Interrupted, Trainer, Watch
from methods import registry
from methods.base import Phase
from robust_benchmark.errors import ContractError, UserError

Marks = dict[str, str]


class Killed(Exception):
    """Represents the end of a process in the middle of an evaluation."""


class Observed(Trainer):
    """A trainer that gives access to its current phase."""

    now: Running | None = None

    def running(self, phase: Phase) -> Running:
        self.now = super().running(phase)
        return self.now


@dataclass
class Course(Watch):
    """The course of a training: watches a trainer, and stores digests of the state after each step, by the number of the step.

    stop: the step after which it requests a stop; die: the step whose evaluation it kills
    epoch_ends: steps that end an epoch
    """

    stop: int = 0
    die: int = 0
    step: int = 0
    marks: dict[int, Marks] = field(default_factory=dict)
    epoch_ends: list[int] = field(default_factory=list)
    trainer: Observed = field(init=False)

    def watch(self, trainer: Observed) -> None:
        """Start with this trainer."""
        self.trainer = trainer
        predict = trainer.method.predict

        def predict_or_die(images: torch.Tensor) -> torch.Tensor:
            if self.step == self.die and not trainer.method.training:
                raise Killed
            return predict(images)

        if self.die:
            trainer.method.predict = predict_or_die  # type: ignore[method-assign]

    def stepped(self, steps: int = 1) -> None:
        self.step += steps

    def stopping(self) -> bool:
        assert self.trainer.now is not None
        self.marks[self.step] = digests(self.trainer.now.state())
        if self.trainer.now.batches.epoch_is_over:
            self.epoch_ends.append(self.step)
        return self.step == self.stop

    @property
    def phase_ends(self) -> list[int]:
        """Return the steps that end a phase."""
        return np.cumsum([phase.schedule.steps for phase in self.trainer.phases]).tolist()

    def step_difference(self, other: Course) -> str | None:
        """Describe the first common step after which the two courses differ; None if there is none."""
        for step in sorted(self.marks.keys() & other.marks.keys()):
            name = changed(self.marks[step], other.marks[step])
            if name is not None:
                return f"'{name}' after step {step}"
        return None

    def difference(self, other: Course) -> str | None:
        """Describe the difference as in `step_difference`, and, if both courses ended, in the content of their records."""
        ended = all(course.trainer.progress.phase == len(course.trainer.phases) for course in (self, other))
        same = not ended or _outcome(self.trainer) == _outcome(other.trainer)
        return self.step_difference(other) or (None if same else "the history")


def _outcome(trainer: Trainer) -> tuple[Any, ...]:
    """Return the part of a record that a training determines; as text, in which NaN equals itself."""
    progress = trainer.progress
    return repr(progress.history), progress.per_class, repr(progress.weights_precision), repr(progress.weight_histograms)


def digests(state: Any) -> Marks:
    """Return a digest of each value in nested state, by its dotted name."""
    return {name: _digest(value) for name, value in leaves(state)}


def _digest(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return repr(value)
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha1(content.data).hexdigest()}"


class Subject:
    """One method under test: a cell's method, on small tasks of the cell's data."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.kinds = kinds(cell)
        self._settings = replace(trial.settings(cell.config), checkpoint_seconds=float("inf"))
        self._processes = 0

    def trainer(
        self,
        kind: Kind,
        seed: int = SEED,
        watch: Watch | None = None,
        checkpoints: Checkpoints | None = None,
        checkpoint_seconds: float = float("inf"),
    ) -> Observed:
        """Return a new trainer. Python's, NumPy's and torch's random numbers differ each time, as in another process."""
        self._processes += 1
        for reseed in (torch.manual_seed, random.seed, np.random.seed):
            reseed(self._processes)
        settings = replace(self._settings, checkpoint_seconds=checkpoint_seconds)
        method = registry.build(self.cell.identity["method"])
        return Observed(method, kind.make_model, kind.task, settings, seed, CPU, checkpoints, watch, trial.compute(self.cell.config))

    @cached_property
    def refusals(self) -> dict[str, str]:
        """Return the kinds of data that the method rejects when a trial is prepared, with its sentence."""
        return {name: refusal for name, kind in self.kinds.items() if (refusal := self._refusal(kind)) is not None}

    def _refusal(self, kind: Kind) -> str | None:
        try:
            self.trainer(kind)
        except ContractError:
            raise
        except UserError as error:
            return str(error)
        return None

    @property
    def kind(self) -> Kind:
        """Return the first kind of data that the method accepts. Raises UserError if it rejects all."""
        accepted = [kind for name, kind in self.kinds.items() if name not in self.refusals]
        if not accepted:
            raise UserError(next(iter(self.refusals.values())))
        return accepted[0]

    @cached_property
    def course(self) -> Course:
        """Return the course of an uninterrupted training on it."""
        return self.observed()

    def observed(self, kind: Kind | None = None) -> Course:
        """Return the course of another training, on the same data unless another kind is given."""
        course = Course()
        course.watch(self.trainer(kind or self.kind, watch=course))
        course.trainer.run()
        return course

    def leg(self, checkpoints: Checkpoints, stop: int = 0, die: int = 0) -> Course:
        """Return the course of a training from the last checkpoint on, until it stops, dies or ends."""
        course = Course(stop, die)
        course.watch(self.trainer(self.kind, watch=course, checkpoints=checkpoints, checkpoint_seconds=0 if die else float("inf")))
        with suppress(Interrupted, Killed):
            course.trainer.run()
        return course
