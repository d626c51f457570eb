"""ELR+ (Liu et al., NeurIPS 2020): memories from the other network's average, and the loss on mixed images, in plain loops."""

from __future__ import annotations

import math

import numpy as np

from tests.references import Array, softmax

SMALLEST = 1e-4


def risen(step_share: float, ramp: float) -> float:
    """exp(-5 (1 - s / L)^2), 1 from L on, and 1 for L = 0."""
    return 1.0 if ramp == 0 or step_share >= ramp else math.exp(-5 * (1 - step_share / ramp) ** 2)


def averaged(average: Array, own: Array, share: float, decay: float, decay_ramp: float) -> Array:
    """The average after it has moved towards the network's parameters."""
    d = decay * risen(share, decay_ramp)
    return d * average + (1 - d) * own


def memory_after(t: Array, other_average_logits: Array, beta: float) -> Array:
    """(n, K): t <- beta t + (1 - beta) softmax of the other network's average."""
    return beta * t + (1 - beta) * softmax(other_average_logits)


def loss(mixed_logits: Array, labels: Array, t: Array, partners: list[int], w: float, strength: float) -> float:
    """Mean CE of mixed labels + strength mean log(1 - <q, p>), p clamped."""
    p, K = softmax(mixed_logits), mixed_logits.shape[1]
    total = 0.0
    for n, j in enumerate(partners):
        y = w * np.eye(K)[labels[n]] + (1 - w) * np.eye(K)[labels[j]]
        q = w * t[n] + (1 - w) * t[j]
        total -= (y * np.log(p[n])).sum()
        total += strength * math.log(1 - (q * np.clip(p[n], SMALLEST, 1 - SMALLEST)).sum())
    return total / len(labels)
