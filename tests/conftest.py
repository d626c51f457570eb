"""Shared fixtures: small tasks, and the real MNIST and CIFAR-10 (as JPEG) if the machine has them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import run, status
from benchmark.models.convnet import ConvNet
from benchmark.records.claims import Holder, read_claim
from benchmark.records.store import Record, read_all
from benchmark.training.trainer import Watch
from datasets.augment import Preprocessing
from datasets.noise import Corruption, UniformFlip
from datasets.source import Source
from datasets.task import Split, Task, make_task
from methods import registry

FORK = multiprocessing.get_context("fork")

torch.set_num_threads(1)  # fastest for small tensors; tests that compare bits, also with subprocesses, need a fixed number


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory ROBUST_TRAINING_DATA: MNIST/raw (IDX files), cifar10-jpeg/{train,test}/<class> and cifar-n/*_human.pt; else a skip."""
    if "ROBUST_TRAINING_DATA" not in os.environ:
        pytest.skip("needs the real MNIST and CIFAR-10 pictures: set ROBUST_TRAINING_DATA to a directory with MNIST/raw and cifar10-jpeg")
    return Path(os.environ["ROBUST_TRAINING_DATA"])


@pytest.fixture
def no_method_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the methods that the test registers."""
    monkeypatch.setattr(registry, "_registered", {name: registry.get(name) for name in registry.names()})
    monkeypatch.setattr(registry, "_left_out", {})


def toy_source(n: int = 120, classes: int = 3, side: int = 8) -> Source:
    """Learnable toy images: each class is bright in its own rows, with pixel noise; n training and n / 2 test images."""
    rng = np.random.default_rng(0)

    def part(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = np.arange(size) % classes
        images = rng.integers(0, 80, (size, 1, side, side))
        for label in range(classes):
            images[labels == label, :, label::classes] += 150
        return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels)

    return Source(*part(n), *part(n // 2), classes=tuple(f"class{label}" for label in range(classes)))


def toy_task(corruption: Corruption | None = None, seed: int = 0, **split: object) -> Task:
    """Return a task on toy images, with 40 % uniform flip by default, 5 clean images per class and 15 hyper-validation images."""
    sizes = Split(**{"clean_per_class": 5, "hyper_validation": 15, **split})  # type: ignore[arg-type]
    return make_task(toy_source(), corruption or UniformFlip(0.4), sizes, Preprocessing(), seed)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; a skip without it or without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[test]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


def small_convnet(classes: int, shape: torch.Size) -> nn.Module:
    return ConvNet(classes, shape, width=4)


def dropout_net(classes: int, shape: torch.Size) -> nn.Module:
    return nn.Sequential(small_convnet(16, shape), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, classes))


def kept_in(directory: Path) -> list[str]:
    """The overrides that keep records and checkpoints below `directory`."""
    return [f"results_dir={directory / 'results'}", f"checkpoint_dir={directory / 'checkpoints'}"]


def tiny_in(directory: Path, *overrides: str) -> list[str]:
    """The overrides of trials below `directory` that take little time."""
    return [*kept_in(directory), "device=cpu", "model.width=2", *overrides]


def records(directory: Path) -> list[Record]:
    """Return the records of a run in `directory`/results, all of which must be readable."""
    found, errors = read_all(directory / "results")
    assert errors == []
    return found


def claims(directory: Path) -> list[Holder]:
    """Return the holders of the claims of a run in `directory`."""
    found = [read_claim(path) for path in sorted((directory / "results").rglob("*.claim"))]
    return [holder for holder in found if holder is not None]


def status_of(capsys: pytest.CaptureFixture[str], directory: Path, *arguments: str) -> str:
    """Return what `benchmark.status` prints of the grid of these arguments."""
    capsys.readouterr()
    status.main(["--checkpoint-dir", str(directory / "checkpoints"), *arguments])
    return capsys.readouterr().out


def untimed(directory: Path) -> dict[tuple[str, int], Record]:
    """Return the records by key and seed, without fields that differ between runs: path, timing and revision of the checkout."""
    parts = {"timing", "environment", "path"}
    return {(each["key"], each["seed"]): {part: each[part] for part in each.keys() - parts} for each in records(directory)}


def wait(until: Callable[[], object], seconds: float = 60) -> None:
    """Until `until` is true."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.05)


def logged_run(overrides: list[str], log: Path, own_group: bool) -> None:
    if own_group:
        os.setpgrp()
    with log.open("w", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.exit(run.main(overrides))


def started(overrides: list[str], log: Path = Path(os.devnull), own_group: bool = False) -> multiprocessing.context.ForkProcess:
    """Start the command in a separate process with all imports of this one; signals to its own group reach no other process."""
    process = FORK.Process(target=logged_run, args=(overrides, log, own_group))
    process.start()
    return process


class StopAt(Watch):
    """Requests a stop after this number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def stepped(self, steps: int = 1) -> None:
        self.left -= steps

    def stopping(self) -> bool:
        return self.left <= 0


class DieAt(StopAt):
    """Kills the trial without warning."""

    def stepped(self, steps: int = 1) -> None:
        super().stepped(steps)
        if self.left <= 0:
            raise KeyboardInterrupt

    def stopping(self) -> bool:
        return False


class PixelsAreLogits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images.flatten(1)
