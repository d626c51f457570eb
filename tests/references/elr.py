"""ELR (Liu et al., NeurIPS 2020): the memory of targets, the loss, and its gradient in closed form."""

from __future__ import annotations

import numpy as np

from tests.references import Array, cross_entropies, one_hot, softmax

SMALLEST = 1e-4  # probabilities stay this far from 0 and 1


def clamped(logits: Array) -> Array:
    """Probabilities, (n, K), within [1e-4, 1 - 1e-4]; rows no longer sum to 1 exactly."""
    return softmax(logits).clip(SMALLEST, 1 - SMALLEST)


def after_visit(memory: Array, index: Array, logits: Array, beta: float) -> Array:
    """The memory, (N, K), after the examples at `index` are seen with these logits: t <- beta t + (1 - beta) p / sum p."""
    memory = memory.copy()
    for i, p in zip(index, clamped(logits), strict=True):
        memory[i] = beta * memory[i] + (1 - beta) * p / p.sum()
    return memory


def loss(logits: Array, labels: Array, targets: Array, lam: float) -> float:
    """Mean of CE_i + lam log(1 - <t_i, p_i>); `targets`, (n, K), are those after this visit."""
    agreement = (targets * clamped(logits)).sum(axis=1)
    return float((cross_entropies(logits, labels) + lam * np.log(1 - agreement)).mean())


def gradient(logits: Array, labels: Array, targets: Array, lam: float) -> Array:
    """Of the loss in the logits, (n, K), with the targets constant. A clamped probability passes no gradient on.

    Of log(1 - <t, p>): -p (t - <t, p>) / (1 - <t, p>).
    """
    p, q = softmax(logits), clamped(logits)
    live = targets * (p == q)
    inner = (live * p).sum(axis=1, keepdims=True)
    agreement = (targets * q).sum(axis=1, keepdims=True)
    regulariser = -p * (live - inner) / (1 - agreement)
    return (p - one_hot(labels, p.shape[1]) + lam * regulariser) / len(labels)
