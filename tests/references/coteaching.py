"""Co-teaching (Han et al., NeurIPS 2018): each network picks the examples that the other one learns from."""

from __future__ import annotations

import math

import numpy as np

from tests.references import Array, cross_entropies, one_hot, softmax


def kept_share(epoch: float, noise_rate: float, ramp_epochs: float = 10.0, exponent: float = 1.0) -> float:
    """R(t) = 1 - min(t / T_k, 1)^c tau, with t the epoch from 0, so that the ramp ends at tau for every c."""
    return 1 - min(epoch / ramp_epochs, 1) ** exponent * noise_rate


def kept(share: float, n: int) -> int:
    """k = floor(R n), with R n taken as an integer where rounding alone keeps it from one."""
    return math.floor(share * n + 1e-9)


def smallest(losses: Array, k: int) -> list[int]:
    """Positions of the k smallest losses; of equal ones the earlier."""
    return sorted(sorted(range(len(losses)), key=lambda i: (losses[i], i))[:k])


def selections(logits_1: Array, logits_2: Array, labels: Array, k: int) -> tuple[list[int], list[int]]:
    """What network 1 learns from, picked by network 2; and what network 2 learns from, picked by network 1."""
    return smallest(cross_entropies(logits_2, labels), k), smallest(cross_entropies(logits_1, labels), k)


def loss_and_gradient(logits: Array, labels: Array, selection: list[int]) -> tuple[float, Array]:
    """One network's mean cross-entropy over its selection, and its gradient in the logits, (n, K)."""
    gradient = np.zeros_like(logits)
    difference = softmax(logits) - one_hot(labels, logits.shape[1])
    for i in selection:
        gradient[i] = difference[i] / len(selection)
    return float(cross_entropies(logits, labels)[selection].mean()), gradient
