"""A task with changed content in everything that a method has not declared; its training must not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from datasets.task import Examples, Task
from methods.base import Knowledge, known

Poison = Callable[[Task, Knowledge], Task]


def undeclared(needs: Knowledge) -> Iterator[tuple[str, Knowledge, Poison]]:
    """Return undeclared information: its name, its declaration (NONE if no method may see it), and a function that changes its content."""
    for name, (knowledge, poison) in POISONS.items():
        if not knowledge or knowledge not in needs:
            yield name, knowledge, poison


def _true_labels(task: Task, needs: Knowledge) -> Task:
    """Change true labels; declared information about them, such as the noise rate and the class shares, does not change."""
    train = task.train
    true_labels = (train.true_labels + 1) % len(task.classes)
    if needs & (Knowledge.NOISE_RATE | Knowledge.TRANSITION_MATRIX):
        true_labels = train.true_labels.clone()
        for label in train.labels.unique():
            members = torch.nonzero(train.labels == label).flatten()
            true_labels[members] = train.true_labels[members.roll(len(members) // 2)]
    return replace(task, train=Examples(train.images, train.labels, true_labels))


def _transition_matrix(task: Task, _: Knowledge) -> Task:
    return replace(task, transition_matrix=known(task.transition_matrix).roll(1, 0))


def _noise_rate(task: Task, _: Knowledge) -> Task:
    return replace(task, noise_rate=(known(task.noise_rate) + 1) / 3)


def _clean_set(task: Task, _: Knowledge) -> Task:
    return replace(task, clean=_others(task.clean, len(task.classes)))


def _hyper_validation(task: Task, _: Knowledge) -> Task:
    return replace(task, hyper_validation=_others(task.hyper_validation, len(task.classes)))


def _test(task: Task, _: Knowledge) -> Task:
    return replace(task, test=_others(task.test, len(task.classes)))


def _others(examples: Examples, classes: int) -> Examples:
    """Return the same number of random images, labelled at random."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, examples.images.shape, dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, classes, len(examples)))
    return Examples(images, labels, labels)


POISONS: dict[str, tuple[Knowledge, Poison]] = {
    "the true labels": (Knowledge.TRUE_LABELS, _true_labels),
    "the transition matrix": (Knowledge.TRANSITION_MATRIX, _transition_matrix),
    "the noise rate": (Knowledge.NOISE_RATE, _noise_rate),
    "the clean set": (Knowledge.CLEAN_SET, _clean_set),
    "the hyper-validation set": (Knowledge.NONE, _hyper_validation),
    "the test set": (Knowledge.NONE, _test),
}
