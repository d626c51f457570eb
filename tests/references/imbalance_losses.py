"""Losses against imbalance, from their papers' formulas: one example after another, one class after another, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.references import Array


def probabilities(z: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(z)) for value in z]
    return [power / sum(powers) for power in powers]


def cross_entropy(z: Array, y: int) -> float:
    return -math.log(probabilities(z)[y])


def focal(z: Array, y: int, gamma: float = 2.0) -> float:
    p = probabilities(z)[y]
    return -((1 - p) ** gamma) * math.log(p)


def focal_gradient(z: Array, y: int, gamma: float = 2.0) -> list[float]:
    """(p_k - 1[k = y]) (1 - p_y)^gamma [1 - gamma p_y log p_y / (1 - p_y)] for each class k."""
    p = probabilities(z)
    factor = (1 - p[y]) ** gamma * (1 - gamma * p[y] * math.log(p[y]) / (1 - p[y]))
    return [(p[k] - (k == y)) * factor for k in range(len(p))]


def shares(counts: Sequence[int]) -> list[float]:
    return [n / sum(counts) for n in counts]


def logit_adjustment(z: Array, y: int, counts: Sequence[int], tau: float = 1.0) -> float:
    """As a margin for each pair of classes: log(1 + sum_{k != y} (pi_k / pi_y)^tau exp(z_k - z_y))."""
    pi = shares(counts)
    return math.log(1 + sum((pi[k] / pi[y]) ** tau * math.exp(z[k] - z[y]) for k in range(len(z)) if k != y))


def balanced_softmax(z: Array, y: int, counts: Sequence[int]) -> float:
    """-log of n_y exp(z_y) / sum_k n_k exp(z_k)."""
    return -math.log(counts[y] * math.exp(z[y]) / sum(n * math.exp(value) for n, value in zip(counts, z, strict=True)))


def vector_scaling(z: Array, y: int, counts: Sequence[int], gamma: float = 0.3, tau: float = 1.0) -> float:
    divisors = [(max(counts) / n) ** gamma for n in counts]
    moved = [value / divisor + tau * math.log(pi) for value, divisor, pi in zip(z, divisors, shares(counts), strict=True)]
    return cross_entropy(np.array(moved), y)


def effective_number_weights(counts: Sequence[int], beta: float = 0.9999) -> list[float]:
    """From 1 + beta + ... + beta^(n - 1), the effective number of n examples; they sum to K."""
    raw = [1 / sum(beta**j for j in range(n)) for n in counts]
    return [len(raw) * value / sum(raw) for value in raw]


def influence_weights(logits: Array, features: Array, labels: Array, counts: Sequence[int], alpha: float) -> list[float]:
    """alpha c_y / (the L1 norm of the gradient of CE in the output layer's weights, entry by entry, + 1e-3)."""
    inverse = [1 / n for n in counts]
    found = []
    for z, h, y in zip(logits, features, labels, strict=True):
        p = probabilities(z)
        norm = sum(abs((p[k] - (k == y)) * value) for k in range(len(p)) for value in h)
        found.append(alpha * len(counts) * inverse[y] / sum(inverse) / (norm + 1e-3))
    return found


def mean_of(one: Callable[[Array, int], float], logits: Array, labels: Array, weights: Sequence[float] | None = None) -> float:
    """sum_i w_{y_i} l_i / n for weights of classes; without them, the plain mean."""
    losses = [(1.0 if weights is None else weights[y]) * one(z, int(y)) for z, y in zip(logits, labels, strict=True)]
    return sum(losses) / len(losses)
