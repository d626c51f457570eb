"""Comparison of trials that are stopped or killed and resumed with uninterrupted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.trainer import Interrupted, Settings, Trainer, Watch
from datasets.augment import Preprocessing
from datasets.task import Task
from methods.base import Method
from methods.schedules import Schedule, Schedules
from tests.conftest import DieAt, StopAt, small_convnet, toy_task

CPU = torch.device("cpu")
SETTINGS = Settings(Schedules(Schedule(10, lr=0.05, decay_at=(7,)), finetune=Schedule(4, lr=0.01)), batch_size=20, evaluate_every=4)


def trained(make: Callable[[], Method], task: Task | None = None, settings: Settings = SETTINGS) -> Trainer:
    """A trial on the toy task, run to its end."""
    trainer = Trainer(make(), small_convnet, task or toy_task(), settings, 1, CPU)
    trainer.run()
    return trainer


def trainer_of(method: Method, steps: int, task: Task | None = None, **more: object) -> Trainer:
    """A trainer on toy images, mirrored at random, which checkpoints after each step."""
    task = replace(task or toy_task(), preprocessing=Preprocessing(flip=True))
    schedules = Schedules(main=Schedule(steps, 0.1, (2 * steps // 3,)))
    settings = Settings(schedules, batch_size=20, evaluate_every=7, checkpoint_seconds=0)
    return Trainer(method, small_convnet, task, settings, 1, CPU, **more)  # type: ignore[arg-type]


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0, equal_nan=True)


def assert_leaves_no_trace(begin: Callable[..., Trainer], file: Path, interruptions: Iterable[Watch]) -> None:
    """A repeatedly interrupted trial ends bit for bit like an uninterrupted one: history, state and example weights.

    begin: makes the trial's trainer, given `checkpoints` and `watch` or neither
    """
    whole = begin()
    history = whole.run().history
    checkpoints = Checkpoints(file, "toy")
    for number, watch in enumerate(interruptions):
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            begin(checkpoints=checkpoints, watch=watch).run()
        torch.manual_seed(number)  # a new process has another global random state
    last = begin(checkpoints=checkpoints)
    assert last.run().history == history
    assert_same_state(last.method, whole.method)
    torch.testing.assert_close(last.example_weights, whole.example_weights, rtol=0, atol=0, equal_nan=True)


def assert_resumes(make: Callable[[], Method], directory: Path, stops: tuple[int, ...]) -> None:
    """Stopped after each of `stops` steps, in ascending order, the trial ends like an uninterrupted one."""

    def begin(**more: object) -> Trainer:
        return Trainer(make(), small_convnet, toy_task(), SETTINGS, 1, CPU, **more)  # type: ignore[arg-type]

    assert_leaves_no_trace(begin, directory / "trial.pt", map(StopAt, stops))


def assert_killed_at_random_ends_the_same(make: Callable[[], Method], directory: Path, kills: int, steps: int = 45) -> None:
    """Half of the interruptions are kills without warning, half are requested stops."""
    deaths = np.sort(np.random.default_rng(0).choice(np.arange(2, steps), kills, replace=False)).tolist()
    watches = [(StopAt, DieAt)[number % 2](death) for number, death in enumerate(deaths)]
    assert_leaves_no_trace(lambda **more: trainer_of(make(), steps, **more), directory / "trial.pt", watches)
