"""Confident learning: counts wrong labels by class pair from out-of-fold probabilities, and points at them.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021. All functions take
probabilities, (n, classes), and given labels, int64 (n,).
"""

from __future__ import annotations

import numpy as np


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return t, (classes,): the mean probability of each class among the examples with this given label (Eq. 2); 1 for an empty class."""
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    return np.divide(sums, counts, out=np.ones(len(counts)), where=counts > 0)


def confident_counts(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return C, int64 (classes, classes): examples with the given label i that are confidently of class j (Eq. 1).

    An example is confidently of the most probable class among those whose probability reaches the class's threshold.
    """
    above = probabilities >= thresholds(probabilities, labels)
    found = np.where(above, probabilities, -1.0).argmax(axis=1)
    confident = above.any(axis=1)
    classes = probabilities.shape[1]
    pairs = labels[confident] * classes + found[confident]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return Q, (classes, classes): the estimated share of examples with given label i and true label j (Eq. 3); it sums to 1.

    Rows of C are scaled to the numbers of given labels. A row without confident examples counts as right.
    """
    counts = confident_counts(probabilities, labels).astype(np.float64)
    empty = counts.sum(axis=1) == 0
    counts[empty, empty] = 1.0
    given = np.bincount(labels, minlength=len(counts))
    scaled = counts / counts.sum(axis=1, keepdims=True) * given[:, None]
    return scaled / scaled.sum()


def wrong_labels(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the estimated number of wrong labels, n (1 - trace Q)."""
    return float(len(labels) * (1 - np.trace(joint(probabilities, labels))))


def suspicion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (n,): max_{j != y} (p_j - t_j) - (p_y - t_y), which compares classes at their own thresholds; larger is more suspicious."""
    shifted = probabilities - thresholds(probabilities, labels)
    return -margins(shifted, labels)


def margins(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the value of the label minus the largest other one, (n,), from values (n, classes)."""
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    return values[rows, labels] - others.max(axis=1)


def pruned(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the examples that the method removes, bool (n,), by its rule "prune by noise rate".

    For each pair of classes i != j, these are the n Q[i, j] examples with given label i and the largest p_j - p_i.
    """
    wanted = np.rint(len(labels) * joint(probabilities, labels)).astype(np.int64)
    removed = np.zeros(len(labels), dtype=bool)
    for given in range(len(wanted)):
        members = np.flatnonzero(labels == given)
        for other in np.flatnonzero(wanted[given]):
            if other != given:
                gaps = probabilities[members, other] - probabilities[members, given]
                removed[members[np.argsort(-gaps, kind="stable")[: wanted[given, other]]]] = True
    return removed
