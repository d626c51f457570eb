"""The cost of a run besides steps: data, evaluation, and a whole job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmark import trial
from benchmark.config import Cell, cells
from benchmark.speed.measure import Effort, Work, compare
from benchmark.speed.steps import BATCH, bare_step, random_task
from benchmark.training.batches import Batches
from benchmark.training.evaluation import Evaluator
from datasets.task import Task
from methods.baseline import Baseline
from methods.l2rw import L2RW
from methods.sampling import uniform


def data(effort: Effort) -> Iterator[list[str]]:
    """Compare a minibatch of 100 from 50,000 images, 3x32x32, cropped, mirrored and normalised, with a DataLoader's."""
    task = random_task("resnet32", 50_000)
    stream = Batches("train", task.train, uniform, BATCH, task.preprocessing, 0, "data")
    tensors = task.train.images[:]
    pictures = [v2.functional.to_pil_image(image) for image in tensors]
    contenders: dict[str, Work] = {"ours": stream.draw}
    for kind, images in (("tensors", tensors), ("PIL images", pictures)):
        for workers in (0, 2):
            contenders[f"DataLoader of {kind}, {workers} workers"] = _loader(Transformed(images, task), workers)
    yield from compare("data", contenders, effort)


class Transformed(Dataset):
    """Images, as tensors or PIL images, transformed one at a time by torchvision; and labels."""

    def __init__(self, images: torch.Tensor | list, task: Task) -> None:
        self._images, self._labels = images, task.train.labels
        mean, std = [task.preprocessing.mean], [task.preprocessing.std]
        scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        self._transform = v2.Compose([v2.RandomCrop(32, padding=task.preprocessing.pad), v2.RandomHorizontalFlip(), *scale])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._transform(self._images[index]), self._labels[index]


def _loader(dataset: Dataset, workers: int) -> Callable[[], object]:
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=True)
    batches = chain.from_iterable(repeat(loader))
    return lambda: next(batches)


def evaluation(effort: Effort) -> Iterator[list[str]]:
    """Measure an evaluation (10,000 test, 5,000 hyper-validation, 1,000 training images), one per 1,000 steps in the paper's schedule.

    Its share of a run is one hundredth of its ratio to 10 steps.
    """
    for name in effort.models:
        task = random_task(name, 10_000).to(effort.device)
        task = replace(task, test=task.train, hyper_validation=task.train.take(slice(5000)))
        method = Baseline()
        step = bare_step(method, name, effort.device)

        contenders: dict[str, Work] = {"10 plain steps": _times(10, step), "an evaluation": partial(Evaluator(task, 0).evaluate, method)}
        yield from compare(name, contenders, replace(effort, repeats=1))


def _times(count: int, step: Work) -> Work:
    def several() -> None:
        for _ in range(count):
            step()

    return several


def job(effort: Effort) -> Iterator[list[str]]:
    """Compare a trial of the main job, from its configuration to its record, with its bare steps."""
    for name, make in (("reed", Baseline), ("l2rw", L2RW)):
        bare = bare_step(make(), "convnet", effort.device)
        (cell,) = cells([f"method={name}", f"device={effort.device}"])
        steps = trial.steps(cell)
        contenders = {f"{steps} bare steps": _times(steps, bare), "a trial": _trial(cell)}
        yield from compare(f"{name} on digits", contenders, replace(effort, repeats=1), per=steps)


def _trial(cell: Cell) -> Work:
    def whole() -> None:
        with TemporaryDirectory() as directory:
            config = replace(cell.config, results_dir=f"{directory}/results", checkpoint_dir=f"{directory}/checkpoints")
            trial.run(replace(cell, config=config), 0)

    return whole
