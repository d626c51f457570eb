"""Evaluation of a method's predictions on test, hyper-validation and training images, by the names of benchmark.metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array

from benchmark.metrics import MATRIX_CLASSES
from benchmark.training.batches import in_order
from datasets.augment import Preprocessing
from datasets.streams import numpy_stream
from datasets.task import Examples, Task
from methods.base import Method
from robust_benchmark.errors import ContractError

TRAINING_SAMPLE = 1000  # number of training examples that measure memorisation
CONFIDENCE_EDGES = np.linspace(0, 1, 16)  # 15 bins, each with its upper edge


class Part:
    """Examples, and their labels on the host, int64 (n,): given and true labels, None if the true labels are unknown."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.given = examples.labels.cpu().numpy()
        self.true = examples.true_labels.cpu().numpy() if examples.truth_is_known else None


class Evaluator:
    """Evaluates methods on a task, always on the same images.

    seed: the trial's; it determines the sample of training examples
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._classes = len(task.classes)
        self._preprocessing = task.preprocessing
        self._test, self._hyper_validation = Part(task.test), Part(task.hyper_validation)
        self._train = Part(training_sample(task.train, seed))
        self._groups = {}
        if task.train.truth_is_known:
            self._groups = shot_groups(np.bincount(task.train.true_labels.cpu().numpy(), minlength=self._classes)[: self._classes])

    def evaluate(self, method: Method) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """Return metrics, and the entries of a record for each class of the test set (see `per_class`).

        Metrics that are not defined on this task are omitted. `nll` is not finite if logits are not.
        """
        test = self._logits(method, self._test)
        true = self._test.given
        confusion = confusion_matrix(true, test.argmax(axis=1), self._classes)
        found = class_metrics(confusion) | shot_metrics(confusion, self._groups) | probability_metrics(test, true)
        if len(self._hyper_validation.examples) > 0:
            predicted = self._logits(method, self._hyper_validation).argmax(axis=1)
            found |= _accuracies("hyper_validation", predicted, self._hyper_validation, self._classes)
        predicted = self._logits(method, self._train).argmax(axis=1)
        found |= _accuracies("train", predicted, self._train, self._classes) | memorisation(predicted, self._train.given, self._train.true)
        return found, per_class(confusion)

    def _logits(self, method: Method, part: Part) -> np.ndarray:
        return logits_on(part.examples, method, self._preprocessing, self._classes)


def check_logits(logits: Any, n: int, classes: int) -> torch.Tensor:
    """Check the result of `predict`. Raises ContractError unless it is logits of n images."""
    if not isinstance(logits, torch.Tensor) or logits.shape != (n, classes) or not logits.is_floating_point():
        given = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ContractError(f"`predict` gives {given}, not logits of shape {(n, classes)}")
    return logits


@torch.no_grad()
def logits_on(examples: Examples, method: Method, preprocessing: Preprocessing, classes: int) -> np.ndarray:
    """Return logits, float32 (n, classes), in evaluation mode; the method ends in training mode. Raises ContractError for other outputs."""
    method.eval()
    outputs = [check_logits(method.predict(batch.images), len(batch.labels), classes) for batch in in_order(examples, preprocessing)]
    method.train()
    return torch.cat(outputs).float().cpu().numpy()


def training_sample(train: Examples, seed: int) -> Examples:
    """Return TRAINING_SAMPLE random examples, or all if there are fewer, in their order.

    Each position has its own random number, so all methods of a trial have the same sample. If their training sets differ by the
    clean images at the end (Split.clean_returns), a few examples differ.
    """
    numbers = numpy_stream(seed, "training sample").random(len(train))
    return train.take(np.sort(np.argsort(numbers)[:TRAINING_SAMPLE]))


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: int) -> coo_array:
    """Return the counts of images by true class (row) and predicted class (column), sparse int64 (classes, classes)."""
    return coo_array((np.ones(len(true), dtype=np.int64), (true, predicted)), shape=(classes, classes))


def per_class(confusion: coo_array) -> dict[str, list[Any]]:
    """Return the accuracy of each class, None without images, and the matrix as lists unless there are more than MATRIX_CLASSES."""
    right, images = confusion.diagonal().tolist(), confusion.sum(axis=1).tolist()
    found: dict[str, list[Any]] = {"accuracy": [hits / n if n else None for hits, n in zip(right, images, strict=True)]}
    return found | ({"confusion_matrix": confusion.toarray().tolist()} if len(right) <= MATRIX_CLASSES else {})


def class_metrics(confusion: coo_array) -> dict[str, float]:
    """Return accuracies and macro F1, from a confusion matrix.

    Balanced accuracy and the worst class's accuracy cover classes with images; F1 also covers predicted classes.
    """
    right, images, predictions = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recalls = right[images > 0] / images[images > 0]
    met = images + predictions > 0
    return {
        "test_accuracy": float(right.sum() / images.sum()),
        "balanced_accuracy": float(recalls.mean()),
        "worst_class_accuracy": float(recalls.min()),
        "macro_f1": float((2 * right[met] / (images + predictions)[met]).mean()),
    }


def shot_groups(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return classes with many (over 100), medium (20 to 100) and few training images, as masks, bool (classes,).

    Groups without classes are omitted. There are no groups if one contains every class, or if the largest class has less than twice the
    images of the smallest, because the data is then not imbalanced.
    Source: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World" (CVPR 2019).
    """
    groups = {"many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20}
    filled = {name: group for name, group in groups.items() if group.any()}
    imbalanced = counts.max() >= 2 * counts.min()
    return filled if len(filled) > 1 and imbalanced else {}


def shot_metrics(confusion: coo_array, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """Return accuracies on the images of each group's classes, from a confusion matrix; none for a group without images."""
    right, images = confusion.diagonal(), confusion.sum(axis=1)
    return {
        f"{name}_shot_accuracy": float(right[group].sum() / images[group].sum()) for name, group in groups.items() if images[group].any()
    }


def probability_metrics(logits: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return negative log-likelihood, expected calibration error and Brier score (0 to 2) of the softmax of `logits`, (n, classes).

    true: int64 (n,)
    Source of the calibration error: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
    """
    n, rows = len(true), np.arange(len(true))
    with np.errstate(invalid="ignore"):  # for logits that are not finite
        scores = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    odds = np.exp(scores)
    totals = odds.sum(axis=1)
    nll = np.log(totals) - scores[rows, true]
    probabilities = odds / totals[:, None]
    excess = (logits.argmax(axis=1) == true) - probabilities.max(axis=1)
    bins = np.searchsorted(CONFIDENCE_EDGES, probabilities.max(axis=1))
    probabilities[rows, true] -= 1
    return {
        "nll": float(nll.mean()),
        "ece": float(np.abs(np.bincount(bins, excess)).sum() / n),
        "brier": float(np.square(probabilities).sum() / n),
    }


def memorisation(predicted: np.ndarray, given: np.ndarray, true: np.ndarray | None) -> dict[str, float]:
    """Return the share of wrong labels that the model predicts as given; empty if no label is wrong, or the true labels are unknown."""
    if true is None:
        return {}
    wrong = given != true
    return {"wrong_labels_memorised": float((predicted == given)[wrong].mean())} if wrong.any() else {}


def _accuracies(name: str, predicted: np.ndarray, part: Part, classes: int) -> dict[str, float]:
    """Return the accuracies on true labels, without images of another data set, and on given labels."""
    of_classes = part.true < classes if part.true is not None else np.zeros(len(predicted), dtype=bool)
    found = {f"{name}_accuracy": float((predicted == part.true)[of_classes].mean())} if of_classes.any() else {}
    return found | {f"{name}_accuracy_on_given_labels": float((predicted == part.given).mean())}
