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


def evaluate(method: Method, task: Task) -> tuple[dict[str, float], list[list[int]]]:
    """Accuracies in [0, 1], and the confusion matrix of the test set: counts, rows the true class, columns the predicted one.

    Accuracies are on test, hyper-validation and (a sample of) training images, by the true labels and by those given. There is no
    hyper-validation entry where that set is empty.
    """
    predicted = predictions(method, task.test, task.preprocessing)
    accuracies = {"test_accuracy": _share(predicted == task.test.true_labels)}
    sample = task.train.take(slice(TRAINING_SAMPLE))
    for name, examples in (("hyper_validation", task.hyper_validation), ("train", sample)):
        if len(examples) > 0:
            hits = predictions(method, examples, task.preprocessing)
            accuracies[f"{name}_accuracy"] = _share(hits == examples.true_labels)
            accuracies[f"{name}_accuracy_on_given_labels"] = _share(hits == examples.labels)
    classes = len(task.classes)
    pairs = torch.bincount(task.test.true_labels * classes + predicted, minlength=classes**2)
    return accuracies, pairs.view(classes, classes).tolist()


def _share(hits: torch.Tensor) -> float:
    return hits.double().mean().item()
