"""The training data of the checks: a small part of a data set, as four kinds of task."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.config import Cell
from benchmark.models.lenet import LeNet
from benchmark.objects import make, model_factory
from benchmark.options import preprocessing
from benchmark.records.store import canonical
from benchmark.training.trainer import ModelFactory
from datasets.imbalance import ClassImbalance
from datasets.noise import Corruption, NoNoise
from datasets.source import Source
from datasets.task import Task, make_task
from methods import registry
from methods.base import Knowledge

SEED = 0
STEPS = 15  # one and a half epochs of 16 images on digits, and three evaluations
SMALL = {
    "trainer.steps": STEPS,
    "trainer.batch_size": 16,
    "trainer.evaluate_every": 5,
    "split.clean_per_class": 2,
    "split.clean_total": "null",
    "split.hyper_validation": 20,  # its images have weights, which are measured at the end
}
TRAINING_IMAGES, TEST_IMAGES = 200, 50  # equal parts of each class, with at least ten and three classes
IMBALANCE = 0.9


@dataclass(frozen=True)
class Kind:
    """A kind of data, and the function that makes models for it."""

    task: Task
    make_model: ModelFactory


def kinds(cell: Cell) -> dict[str, Kind]:
    """Return the kinds of data on which every method is tested, by their names."""
    model = model_factory(cell.config.model)
    whole = _task(cell, make("noise", cell.config.noise))
    return {
        "wrong labels": Kind(whole, model),
        "two classes, imbalanced, by one logit": Kind(_task(cell, ClassImbalance(IMBALANCE), classes=2), LeNet),
        "a class with one image and one with none": Kind(_rare(whole), model),
        "right labels": Kind(_task(cell, NoNoise()), model),
    }


def _task(cell: Cell, corruption: Corruption, classes: int | None = None) -> Task:
    sees_clean = Knowledge.CLEAN_SET in registry.build(cell.identity["method"]).needs
    source = _source(cell.config.dataset["name"], canonical(cell.config.dataset["source"]), classes)
    return make_task(source, corruption, cell.config.split, preprocessing(cell.config), SEED, sees_clean)


def _rare(task: Task) -> Task:
    """Return the task with a single training image with label 0 and, with more than two classes, none with label 1."""
    labels = task.train.labels.numpy()
    others = labels > (1 if len(task.classes) > 2 else 0)
    kept = np.sort(np.append(np.flatnonzero(others), np.flatnonzero(labels == 0)[:1]))
    return replace(task, train=task.train.take(kept), train_positions=task.train_positions[kept])


@functools.lru_cache(maxsize=4)
def _source(name: str, config: str, classes: int | None) -> Source:
    """Return the first images of each of the first `classes`, or of all."""
    whole: Source = make("dataset", json.loads(config), name)
    names = whole.classes[:classes]
    train = _first(whole.train_labels, len(names), max(10, TRAINING_IMAGES // len(names)))
    test = _first(whole.test_labels, len(names), max(3, TEST_IMAGES // len(names)))
    return Source(whole.train_images[train], whole.train_labels[train], whole.test_images[test], whole.test_labels[test], names)


def _first(labels: torch.Tensor, classes: int, count: int) -> torch.Tensor:
    """Return positions of the first `count` of each class."""
    return torch.cat([torch.nonzero(labels == label).flatten()[:count] for label in range(classes)])
