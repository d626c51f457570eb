"""Trials that are killed again and again, beside one that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.augment import Preprocessing
from datasets.task import Task
from methods.base import Method
from methods.schedules import Schedule, Schedules
from tests.conftest import StopAt, small_convnet, toy_task

CPU = torch.device("cpu")


class DieAt(StopAt):
    """Kills the trial without warning, once it has taken so many steps in this process."""

    def stepped(self, steps: int = 1) -> None:
        super().stepped(steps)
        if self.left <= 0:
            raise KeyboardInterrupt

    def stopping(self) -> bool:
        return False


def trainer_of(method: Method, steps: int, task: Task | None = None, size: int = 20, **more: object) -> Trainer:
    """A trainer on toy images, mirrored at random, which checkpoints after each step."""
    task = replace(task or toy_task(), preprocessing=Preprocessing(flip=True))
    schedules = Schedules(main=Schedule(steps, 0.1, (2 * steps // 3,)))
    settings = Settings(schedules, size, evaluate_every=7, checkpoint_seconds=0)
    return Trainer(method, small_convnet, task, settings, 1, CPU, **more)  # type: ignore[arg-type]


def assert_killed_at_random_ends_the_same(make: Callable[[], Method], folder: Path, kills: int, steps: int = 45, size: int = 20) -> None:
    """Half of the deaths come without warning, half of the stops are asked for; histories, state and example weights are to be equal."""
    whole = trainer_of(make(), steps, size=size)
    history = whole.run().history
    checkpoints, rng = Checkpoints(folder / "trial.pt", "toy"), np.random.default_rng(0)
    deaths = np.sort(rng.choice(np.arange(2, steps), kills, replace=False))
    for number, death in enumerate(deaths.tolist()):
        watch = (StopAt, DieAt)[number % 2](death)
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            trainer_of(make(), steps, size=size, checkpoints=checkpoints, watch=watch).run()
        torch.manual_seed(number)  # a fresh process has another global random state
    last = trainer_of(make(), steps, size=size, checkpoints=checkpoints)
    assert last.run().history == history
    saved, expected = last.method.state_dict(), whole.method.state_dict()
    assert saved.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in saved.items())
    torch.testing.assert_close(last.example_weights, whole.example_weights, rtol=0, atol=0, equal_nan=True)
