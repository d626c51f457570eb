"""The metrics: name, caption, unit and direction of each, declared once. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robust_benchmark.errors import unknown


@dataclass(frozen=True)
class Metric:
    """A number of one evaluation.

    name: in a record's `metrics` and `history`, and on the command line
    caption: in tables and figures
    unit: '%' for a share that records store in [0, 1] and that is shown in percent; other values are shown as stored
    larger_is_better: False if a smaller value is better
    absent: the case in which a record lacks it; '' for never
    complement_of: the stored metric whose share it completes to 1, if records store only that one
    low, high: the range of the stored value
    """

    name: str
    caption: str
    unit: str = "%"
    larger_is_better: bool = True
    absent: str = ""
    complement_of: str = ""
    low: float = 0.0
    high: float = 1.0

    @property
    def label(self) -> str:
        """The caption and unit, for the label of an axis.

        >>> METRICS["ece"].label, METRICS["brier"].label
        ('Expected calibration error (%)', 'Brier score')
        """
        return f"{self.caption} ({self.unit})" if self.unit else self.caption

    @property
    def kept(self) -> str:
        """The name under which records store it."""
        return self.complement_of or self.name

    def of(self, metrics: Mapping[str, Any]) -> float:
        """Return the value in this metric's unit, from the metrics of one evaluation; NaN if they lack it.

        >>> METRICS["test_error"].of({"test_accuracy": 0.75})
        25.0
        """
        kept = metrics.get(self.kept)
        if kept is None:
            return math.nan
        share = 1 - kept if self.complement_of else kept
        return 100 * share if self.unit == "%" else float(share)


NO_TRUTH = "if the true labels of the training set are unknown"
NO_HYPER_VALIDATION = "without a hyper-validation set (split.hyper_validation)"
NO_TRUE_HYPER_VALIDATION = f"{NO_HYPER_VALIDATION}, and {NO_TRUTH}"
NO_SHOTS = (
    "if the training set is about balanced or its true labels are unknown, if all classes are in one group, or if the group has"
    " no class or no test image"
)
NO_WRONG = f"if the sample of training examples has no wrong label, and {NO_TRUTH}"
NO_WEIGHTS = "for methods that neither weight nor select examples, and during training on the clean set"
NO_KINDS = f"{NO_WEIGHTS}, and without both right and wrong labels among the known ones"
NO_COST = "if the cost of the method was not measured (results/cost.json)"

_ALL = (
    Metric("test_accuracy", "Test accuracy"),
    Metric("test_error", "Test error", larger_is_better=False, complement_of="test_accuracy"),
    Metric("balanced_accuracy", "Balanced test accuracy"),
    Metric("worst_class_accuracy", "Test accuracy of the worst class"),
    Metric("macro_f1", "Macro F1 on the test set"),
    Metric("nll", "Negative log-likelihood on the test set", unit="nats", larger_is_better=False, high=math.inf),
    Metric("ece", "Expected calibration error", larger_is_better=False),
    Metric("brier", "Brier score", unit="", larger_is_better=False, high=2.0),
    Metric("many_shot_accuracy", "Test accuracy of many-shot classes", absent=NO_SHOTS),
    Metric("medium_shot_accuracy", "Test accuracy of medium-shot classes", absent=NO_SHOTS),
    Metric("few_shot_accuracy", "Test accuracy of few-shot classes", absent=NO_SHOTS),
    Metric("hyper_validation_accuracy", "Hyper-validation accuracy (true labels)", absent=NO_TRUE_HYPER_VALIDATION),
    Metric("hyper_validation_accuracy_on_given_labels", "Hyper-validation accuracy (given labels)", absent=NO_HYPER_VALIDATION),
    Metric("train_accuracy", "Training accuracy (true labels)", absent=NO_TRUTH),
    Metric("train_accuracy_on_given_labels", "Training accuracy (given labels)"),
    Metric("wrong_labels_memorised", "Wrong training labels memorised", larger_is_better=False, absent=NO_WRONG),
    Metric("train_loss", "Training loss", unit="", larger_is_better=False, low=-math.inf, high=math.inf),
    Metric("effective_batch_share", "Effective share of the batch", absent=NO_WEIGHTS),
    Metric("weights_auroc", "AUROC of example weights for wrong labels", absent=NO_KINDS),
    Metric("weights_auprc", "AUPRC of example weights for wrong labels", absent=NO_KINDS),
    Metric("weights_precision", "Precision of example weights for wrong labels", absent=NO_KINDS),
    Metric(
        "relative_seconds", "Seconds per step, relative to plain training", unit="", larger_is_better=False, absent=NO_COST, high=math.inf
    ),
    Metric("peak_memory", "Peak memory", unit="MiB", larger_is_better=False, absent=NO_COST, high=math.inf),
)
METRICS = {metric.name: metric for metric in _ALL}
MATRIX_CLASSES = 1000  # with more classes, a record has no matrix of all pairs of classes: 8,142 classes have 66 million pairs


def metric(name: str) -> Metric:
    """Return the metric of that name. Raises UserError with the nearest name."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
