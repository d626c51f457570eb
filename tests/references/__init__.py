"""Slow, obvious versions of methods, in float64: what the fast ones are checked against."""

from __future__ import annotations

import numpy as np
import scipy.special

Array = np.ndarray


def softmax(logits: Array) -> Array:
    """Rows of probabilities, (n, K)."""
    return scipy.special.softmax(logits, axis=1)


def one_hot(labels: Array, classes: int) -> Array:
    """Rows of the identity, (n, K)."""
    return np.eye(classes)[labels]


def cross_entropies(logits: Array, labels: Array) -> Array:
    """-log softmax(z_i)[y_i], (n,)."""
    return scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
