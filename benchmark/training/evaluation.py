"""Accuracies of a method on held-out and training examples."""

from __future__ import annotations

import torch

from benchmark.training.batches import in_order
from datasets.augment import Preprocessing
from datasets.task import Examples, Task
from methods.base import Method

TRAINING_SAMPLE = 1000  # the training set's first examples tell how far wrong labels are memorised


@torch.no_grad()
def predictions(method: Method, examples: Examples, preprocessing: Preprocessing) -> torch.Tensor:
    """Predicted classes, int64 (n,), in evaluation mode; the method is left in training mode."""
    method.eval()
    classes = [method.predict(batch.images).argmax(dim=1) for batch in in_order(examples, preprocessing)]
    method.train()
    return torch.cat(classes) if classes else torch.empty_like(examples.labels)


def evaluate(method: Method, task: Task) -> dict[str, float]:
    """Accuracies in [0, 1]: on test, hyper-validation and (a sample of) training images, by the labels shown and the true ones.

    There is no hyper-validation entry where that set is empty.
    """
    sample = Examples(*(part[:TRAINING_SAMPLE] for part in (task.train.images, task.train.labels, task.train.true_labels)))
    accuracies = {}
    for name, examples in (("test", task.test), ("hyper_validation", task.hyper_validation), ("train", sample)):
        if len(examples) == 0:
            continue
        predicted = predictions(method, examples, task.preprocessing)
        accuracies[f"{name}_accuracy"] = _share(predicted == examples.true_labels)
        if name != "test":
            accuracies[f"{name}_accuracy_on_given_labels"] = _share(predicted == examples.labels)
    return accuracies


def confusion_matrix(method: Method, task: Task) -> torch.Tensor:
    """Counts on the test set, int64 (classes, classes): row the true class, column the predicted one."""
    classes = len(task.classes)
    predicted = predictions(method, task.test, task.preprocessing)
    return torch.bincount(task.test.true_labels * classes + predicted, minlength=classes**2).view(classes, classes).cpu()


def _share(hits: torch.Tensor) -> float:
    return hits.double().mean().item()
