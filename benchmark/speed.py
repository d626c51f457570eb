"""`python -m benchmark.speed`: what things cost, as ratios to the plain step of the same model measured in the same run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from tabulate import tabulate

from benchmark.models.convnet import ConvNet
from benchmark.models.lenet import LeNet
from benchmark.models.resnet import ResNet
from benchmark.training.compute import Compute
from benchmark.training.trainer import ModelFactory, Settings, Trainer
from benchmark.trial import device_of, environment
from datasets.augment import Preprocessing
from datasets.errors import UserError, at_least
from datasets.task import Examples, Task
from methods.base import Batch, Knowledge, Method, Schedule, Schedules, View
from methods.baseline import Baseline
from methods.l2rw import L2RW

Step = Callable[[], object]
MODELS: dict[str, tuple[ModelFactory, tuple[int, int, int], Preprocessing]] = {
    "convnet": (ConvNet, (1, 8, 8), Preprocessing()),
    "lenet": (LeNet, (1, 28, 28), Preprocessing(0.0, 1.0)),
    "resnet32": (ResNet, (3, 32, 32), Preprocessing(0.5, 0.5, pad=2, flip=True)),
}
BATCH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["lenet", "resnet32"], choices=tuple(MODELS))
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds; ratios are taken within a round")
    parser.add_argument("--steps", type=int, default=5, help="steps of each contender a round")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    try:
        at_least("--rounds", given.rounds, 1)
        at_least("--steps", given.steps, 1)
        device = device_of(given.device)
        rows = [row for name in given.models for row in _rows(name, device, given.rounds, given.steps)]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(tabulate(rows, headers=["model", f"step, batch of {BATCH}", "ratio to plain", "quartiles", "ms"], disable_numparse=True))
    where = environment(device)
    print(f"\nMedians over {given.rounds} rounds on {where['device']}, {where['threads']} threads, torch {where['versions']['torch']}.")
    return 0


def _rows(name: str, device: torch.device, rounds: int, steps: int) -> Iterator[list[str]]:
    contenders = _contenders(name, device)
    seconds = _measure(contenders, device, rounds, steps)  # (rounds, contenders)
    ratios = seconds / seconds[:, :1]
    for column, contender in enumerate(contenders):
        low, median, high = np.percentile(ratios[:, column], (25, 50, 75))
        yield [name, contender, f"{median:.3f}", f"{low:.3f} to {high:.3f}", f"{1000 * np.median(seconds[:, column]):.2f}"]


def _contenders(name: str, device: torch.device) -> dict[str, Step]:
    """The plain step first."""
    contenders: dict[str, Step] = {"plain: forward, mean loss, backward, SGD": _bare_step(Baseline(), name, device)}
    contenders["plain, in the trainer"] = _trainer_step(name, device)
    for m in (100, 25, 10):
        contenders[f"L2RW, m = {m}"] = _bare_step(L2RW(m), name, device)
    return contenders


def _measure(contenders: dict[str, Step], device: torch.device, rounds: int, steps: int) -> np.ndarray:
    """Seconds a step, (rounds, contenders); the contenders take turns within a round."""
    seconds = np.empty((rounds + 1, len(contenders)))
    for turn in range(rounds + 1):
        for column, step in enumerate(contenders.values()):
            _wait(device)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            _wait(device)
            seconds[turn, column] = (time.perf_counter() - began) / steps
    return seconds[1:]  # the first round warms up


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bare_step(method: Method, name: str, device: torch.device) -> Step:
    """One update on a batch that is there already: nothing drawn, augmented or logged."""
    make, shape, _ = MODELS[name]
    images, labels = torch.randn(BATCH, *shape, device=device), torch.randint(10, (BATCH,), device=device)

    def clean(size: int) -> Batch:
        return Batch(images[:size], labels[:size], labels[:size])

    batch = Batch(images, labels, labels, clean if Knowledge.CLEAN_SET in method.needs else None)
    task = _random_task(name)
    method.setup(partial(make, 10, torch.Size(shape)), View(method.needs, 10, labels, lambda: iter(()), task))
    Compute().on(device).place(method, device).train()
    optimiser = torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def step() -> None:
        loss = method.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _trainer_step(name: str, device: torch.device) -> Step:
    make, _, _ = MODELS[name]
    schedules = Schedules(main=Schedule(steps=10**9, lr=1e-3))
    trainer = Trainer(Baseline(), make, _random_task(name), Settings(schedules, BATCH), 0, device)
    phase = trainer.phases[0]
    return trainer.stepper(phase, trainer.batches(phase))


def _random_task(name: str, size: int = 5000) -> Task:
    """Random pixels and labels in the shape of the model's usual dataset."""
    _, shape, preprocessing = MODELS[name]
    labels = torch.randint(10, (size,))
    examples = Examples(torch.randint(256, (size, *shape), dtype=torch.uint8), labels, labels)
    few = examples.take(slice(BATCH))
    return Task(examples, few, few, few, tuple("0123456789"), 0.0, torch.eye(10), preprocessing)


if __name__ == "__main__":
    sys.exit(main())
