"""Slow, simple versions of methods, in float64: references for the fast ones."""

from __future__ import annotations

from collections.abc import Callable

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


def numerical_gradient(function: Callable[[Array], float], at: Array, h: float = 1e-6) -> Array:
    """By central differences, of the shape of `at`."""
    gradient = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[i] = h
        gradient[i] = (function(at + step) - function(at - step)) / (2 * h)
    return gradient
