"""Counts of the labels of a task's training set, for its record and for `python -m benchmark.prepare --labels`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from scipy.sparse import coo_array

from benchmark.metrics import MATRIX_CLASSES
from benchmark.training.evaluation import confusion_matrix
from datasets.task import Examples, Task

DECIMALS = 6  # of a probability in a record
MOST = 5  # labels of a row that are printed by name


def counts(examples: Examples, classes: int) -> coo_array:
    """Return the number of examples with each true label (row) and given label (column), sparse int64 (classes, classes).

    Images of another data set, which have no true class, do not count.
    """
    true, given = examples.true_labels.cpu().numpy(), examples.labels.cpu().numpy()
    own = true < classes
    return confusion_matrix(true[own], given[own], classes)


def of_record(task: Task) -> dict[str, Any]:
    """Return the fields of a record on its training labels; those on true labels only if these are known.

    The transition matrix is present if it differs from the shares of the counts, so if the noise states it. The counts of images of
    another data set are present if there are any. Matrices are absent with more than MATRIX_CLASSES classes.
    """
    train, classes = task.train, len(task.classes)
    found = {"train_labels_per_class": torch.bincount(train.labels, minlength=classes).tolist()}
    if not train.truth_is_known:
        return found
    counted = counts(train, classes)
    images = counted.sum(axis=1)
    found |= {"train_true_labels_per_class": images.tolist(), "wrong_labels_per_true_class": (images - counted.diagonal()).tolist()}
    if task.replaced.any():
        found["replaced_images_per_given_label"] = _replaced(task).tolist()
    return found | (_matrices(task.transition_matrix, torch.from_numpy(counted.toarray())) if classes <= MATRIX_CLASSES else {})


def _matrices(T: torch.Tensor | None, counted: torch.Tensor) -> dict[str, list[Any]]:
    found = {"given_labels_per_true_class": counted.tolist()}
    shares = counted.double() / counted.sum(dim=1, keepdim=True)
    return found if T is None or torch.allclose(T, shares) else found | {"transition_matrix": _rounded(T)}


def _replaced(task: Task) -> torch.Tensor:
    """Return the number of training images of another data set with each given label, int64 (classes,), on the CPU."""
    return torch.bincount(task.train.labels[task.replaced].cpu(), minlength=len(task.classes))


def _rounded(T: torch.Tensor) -> list[list[float]]:
    return [[round(share, DECIMALS) for share in row] for row in T.tolist()]


def lines(task: Task) -> Iterator[str]:
    """Yield a line for each true class: its examples, the wrong ones among them, and its row of the transition matrix.

    With images of another data set, yield a line for each given label: its examples, and those of the other data set among them.
    """
    if task.replaced.any():
        given = torch.bincount(task.train.labels.cpu(), minlength=len(task.classes)).tolist()
        for name, n, others in zip(task.classes, given, _replaced(task).tolist(), strict=True):
            yield f"{name}: {n:,} examples with this given label, {others:,} of another data set" + (f" ({others / n:.2%})" if n else "")
    if task.transition_matrix is None:
        return
    counted = counts(task.train, len(task.classes))
    for name, n, right, chances in zip(
        task.classes, counted.sum(axis=1).tolist(), counted.diagonal().tolist(), task.transition_matrix, strict=True
    ):
        share = f" ({(n - right) / n:.2%})" if n else ""
        yield f"{name}: {n:,} examples, {n - right:,} wrong{share}; given label {_likely(task.classes, chances.tolist())}"


def _likely(classes: Sequence[str], chances: Sequence[float]) -> str:
    """
    >>> _likely(["a", "b", "c"], [0.25, 0.75, 0.0])
    'b (75.00%), a (25.00%)'
    >>> _likely("abcdefg", [0.4, *[0.1] * 6])
    'a (40.00%), b (10.00%), c (10.00%), d (10.00%), e (10.00%), 2 others (20.00%)'
    """
    possible = sorted(((chance, name) for name, chance in zip(classes, chances, strict=True) if chance > 0), key=lambda each: -each[0])
    words = [f"{name} ({chance:.2%})" for chance, name in possible[:MOST]]
    rest = possible[MOST:]
    return ", ".join([*words, *([f"{len(rest)} others ({sum(chance for chance, _ in rest):.2%})"] if rest else [])])
