"""cRT, classifier re-training (Kang et al., ICLR 2020): what its second phase must satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from tests.references import Array, one_hot, softmax

Tensors = Mapping[str, torch.Tensor]


def changed(before: Tensors, after: Tensors) -> set[str]:
    """Names of tensors that are not the same bit for bit."""
    return {name for name in before.keys() | after.keys() if not torch.equal(before[name], after[name])}


def class_probabilities(labels: Array, power: float) -> Array:
    """p_k in proportion to n_k^power over the classes that occur: 1 samples examples alike, 0 classes alike."""
    counts = np.bincount(labels).astype(np.float64)
    raw = np.array([n**power if n > 0 else 0.0 for n in counts])
    return raw / raw.sum()


def class_frequencies(labels: Array, epoch: Array) -> Array:
    """Share of each class among an epoch's positions."""
    drawn = labels[epoch.ravel()]
    return np.array([(drawn == k).mean() for k in range(labels.max() + 1)])


def classifier_gradient(features: Array, weight: Array, bias: Array, labels: Array) -> tuple[Array, Array]:
    """Of the mean cross-entropy in the linear classifier's weight, (K, d), and bias, (K,), with the features constant."""
    difference = (softmax(features @ weight.T + bias) - one_hot(labels, len(bias))) / len(labels)
    return difference.T @ features, difference.sum(axis=0)


def looks_freshly_drawn(weight: torch.Tensor, others: Iterable[torch.Tensor]) -> bool:
    """Whether the weight is none of the others, even in a few of its numbers, and not constant."""
    return float(weight.std()) > 0 and all(float((weight == other).float().mean()) < 0.1 for other in others)
