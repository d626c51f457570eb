"""M-DYR (Arazo et al., ICML 2019): the beta mixture of losses, and the loss of bootstrapping under mixup, in plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats

from tests.references import Array, softmax

EDGE = 1e-3


def moments_fit(x: Array, weights: Array) -> tuple[float, float]:
    """alpha and beta of the beta distribution with the weighted mean and variance of x."""
    m = float((weights * x).sum() / weights.sum())
    s2 = float((weights * (x - m) ** 2).sum() / weights.sum())
    alpha = m * (m * (1 - m) / s2 - 1)
    return alpha, alpha * (1 - m) / m


@dataclass
class Mixture:
    """Two beta distributions, the one of higher mean last, and the bounds of the losses that they were fitted to."""

    alphas: list[float]
    betas: list[float]
    shares: list[float]
    low: float = 0.0
    high: float = 1.0

    def densities(self, x: float) -> list[float]:
        return [w * scipy.stats.beta.pdf(x, a, b) for a, b, w in zip(self.alphas, self.betas, self.shares, strict=True)]

    def posterior(self, x: float) -> float:
        """Of the second component, at a scaled loss."""
        right, wrong = self.densities(x)
        return wrong / (right + wrong)


def em(x: Array, iterations: int = 10) -> Mixture:
    """By weighted moments, on values within (0, 1)."""
    mixture = Mixture([1.0, 2.0], [2.0, 1.0], [0.5, 0.5])
    for _ in range(iterations):
        r = np.array([[d / sum(mixture.densities(v)) for d in mixture.densities(v)] for v in x])
        fits = [moments_fit(x, r[:, k]) for k in (0, 1)]
        mixture = Mixture([a for a, _ in fits], [b for _, b in fits], [float(r[:, k].mean()) for k in (0, 1)])
    means = [a / (a + b) for a, b in zip(mixture.alphas, mixture.betas, strict=True)]
    if means[0] > means[1]:
        mixture = Mixture(mixture.alphas[::-1], mixture.betas[::-1], mixture.shares[::-1])
    return mixture


def scaled(losses: Array, low: float, high: float) -> Array:
    """To [1e-3, 1 - 1e-3]."""
    return np.clip((losses - low) / (high - low + 1e-6), EDGE, 1 - EDGE)


def fit(losses: Array) -> Mixture:
    """To the losses between their 5th and 95th percentiles."""
    bottom, high = np.percentile(losses, 5), np.percentile(losses, 95)
    low = bottom + 1e-5
    mixture = em(scaled(losses[(losses >= bottom) & (losses <= high)], low, high))
    mixture.low, mixture.high = float(low), float(high)
    return mixture


def probability_wrong(losses: Array, mixture: Mixture) -> Array:
    """Through a table of 100 losses that stays at its maximum once there; within [1e-4, 1 - 1e-4]."""
    table = [mixture.posterior(x) for x in np.clip(np.linspace(0, 1, 100), EDGE, 1 - EDGE)]
    top = int(np.argmax(table))
    table[top:] = [table[top]] * (100 - top)
    positions = [min(99, int(100 * x)) for x in scaled(losses, mixture.low, mixture.high)]
    return np.clip([table[position] for position in positions], 1e-4, 1 - 1e-4)


def targets(labels: Array, B: Array, prediction: Array, soft: bool) -> Array:
    """(1 - B) y + B z, (n, K), z the one-hot predicted class, or the prediction."""
    K = prediction.shape[1]
    found = np.zeros_like(prediction)
    for n, y in enumerate(labels):
        z = prediction[n] if soft else np.eye(K)[prediction[n].argmax()]
        found[n] = (1 - B[n]) * np.eye(K)[y] + B[n] * z
    return found


def balance(logits: Array) -> float:
    """sum_k (1/K) log( (1/K) / mean p_k )."""
    p = softmax(logits).mean(axis=0)
    return sum(math.log((1 / len(p)) / share) / len(p) for share in p)


def loss(mixed_logits: Array, first: Array, second: Array, w: float) -> float:
    """w CE(h, targets of the first) + (1 - w) CE(h, targets of the second) + balance, of mixed images' logits, (n, K)."""
    log_p = np.log(softmax(mixed_logits))
    total = 0.0
    for n in range(len(log_p)):
        total -= w * (first[n] * log_p[n]).sum() + (1 - w) * (second[n] * log_p[n]).sum()
    return total / len(log_p) + balance(mixed_logits)
