"""A trial that is stopped and taken up, against one that is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.task import Task
from methods.base import Method
from methods.schedules import Schedule, Schedules
from tests.conftest import StopAt, small_convnet, toy_task

CPU = torch.device("cpu")
SETTINGS = Settings(Schedules(Schedule(10, lr=0.05, decay_at=(7,)), finetune=Schedule(4, lr=0.01)), batch_size=20, evaluate_every=4)


def trained(make: Callable[[], Method], task: Task | None = None, settings: Settings = SETTINGS) -> Trainer:
    """A trial on the toy task, run to its end."""
    trainer = Trainer(make(), small_convnet, task or toy_task(), settings, 1, CPU)
    trainer.run()
    return trainer


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0, equal_nan=True)


def assert_resumes(make: Callable[[], Method], directory: Path, stops: tuple[int, ...]) -> None:
    """Stopped after any of `stops` steps and taken up in a process with other random numbers, the trial ends bit for bit the same."""
    whole = trained(make)
    for stop in stops:
        checkpoints = Checkpoints(directory / f"{stop}.pt", "toy")
        with pytest.raises(Interrupted):
            Trainer(make(), small_convnet, toy_task(), SETTINGS, 1, CPU, checkpoints, StopAt(stop)).run()
        torch.manual_seed(stop)
        resumed = Trainer(make(), small_convnet, toy_task(), SETTINGS, 1, CPU, checkpoints)
        assert resumed.run().history == whole.progress.history, f"stopped after {stop}"
        assert_same_state(resumed.method, whole.method)
