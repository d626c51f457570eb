"""Robust losses, from their papers' formulas: one example after another, one class after another, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.references import Array, softmax

LOG_OF_ZERO = math.log(1e-4)  # what SCE's released code takes for log 0 of a one-hot label


def mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def each(logits: Array, labels: Array, loss: Callable[[Array, int], float]) -> list[float]:
    """loss(p_i, y_i) of each example."""
    return [loss(p, int(y)) for p, y in zip(softmax(logits), labels, strict=True)]


# functions of one example's probabilities, (K,), and its label


def cross_entropy(p: Array, y: int) -> float:
    return -math.log(p[y])


def mae(p: Array, y: int) -> float:
    """sum_k |e_yk - p_k|."""
    return sum(abs((k == y) - p[k]) for k in range(len(p)))


def gce(p: Array, y: int, q: float = 0.7) -> float:
    """(1 - p_y^q) / q."""
    return (1 - p[y] ** q) / q


def reverse_cross_entropy(p: Array, y: int) -> float:
    """-sum_k p_k log e_yk, with log 0 replaced."""
    return -sum(p[k] * (0.0 if k == y else LOG_OF_ZERO) for k in range(len(p)))


def sce(p: Array, y: int, alpha: float = 0.1, beta: float = 1.0) -> float:
    return alpha * cross_entropy(p, y) + beta * reverse_cross_entropy(p, y)


def nce(p: Array, y: int) -> float:
    """log p_y / sum_k log p_k."""
    return math.log(p[y]) / sum(math.log(value) for value in p)


def nce_rce(p: Array, y: int, alpha: float = 1.0, beta: float = 1.0) -> float:
    return alpha * nce(p, y) + beta * reverse_cross_entropy(p, y)


def nce_mae(p: Array, y: int, alpha: float = 1.0, beta: float = 1.0) -> float:
    """With the released code's 1 - p_y, half of the paper's MAE."""
    return alpha * nce(p, y) + beta * mae(p, y) / 2


def label_smoothing(p: Array, y: int, r: float = 0.1) -> float:
    """Cross-entropy to the target (1 - r) e_y + r / K."""
    K = len(p)
    return -sum(((1 - r) * (k == y) + r / K) * math.log(p[k]) for k in range(K))


def negative(p: Array, c: int) -> float:
    """-log max(1 - p_c, 1e-5) of a complementary label c."""
    return -math.log(max(1 - p[c], 1e-5))


def expected_negative(p: Array, y: int) -> float:
    """The mean of it over the K - 1 labels that are not the given one."""
    return mean([negative(p, c) for c in range(len(p)) if c != y])


def divergence(p: Array, q: Array) -> float:
    """KL(p || q), with 0 log 0 = 0."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def jensen_shannon(distributions: list[Array], weights: list[float]) -> float:
    """sum_i w_i KL(d_i || m), m = sum_i w_i d_i."""
    m = sum(w * d for w, d in zip(weights, distributions, strict=True))
    return sum(w * divergence(d, m) for w, d in zip(weights, distributions, strict=True))


def gjs(views: list[Array], y: int, pi: float) -> float:
    """Of the label and the predictions on all views, which share 1 - pi equally, over -(1 - pi) log(1 - pi). One view makes JS."""
    label = np.eye(len(views[0]))[y]
    weights = [pi] + [(1 - pi) / len(views)] * len(views)
    return jensen_shannon([label, *views], weights) / (-(1 - pi) * math.log(1 - pi))


# losses of a batch


def truncated_gce(logits: Array, labels: Array, kept: Array, q: float = 0.7) -> float:
    """Mean over the batch of w_i L_q; what the threshold subtracts is constant."""
    return mean([w * gce(p, int(y), q) for w, p, y in zip(kept, softmax(logits), labels, strict=True)])


def peer_loss(logits: Array, labels: Array, peers: Array, alpha: float) -> float:
    """mean CE(f(x_i), y_i) - alpha mean CE(f(x_i), peer_i), over 1 + alpha; CE is -log(p + 1e-5)."""
    p = softmax(logits)
    own = mean([-math.log(p[i][y] + 1e-5) for i, y in enumerate(labels)])
    other = mean([-math.log(p[i][y] + 1e-5) for i, y in enumerate(peers)])
    return (own - alpha * other) / (1 + alpha)


def released_peer_alpha(epoch: float) -> float:
    """The weight along 300 epochs: the released code's curve for uniform noise on CIFAR-10."""
    if epoch < 20:
        return 0.0
    if epoch < 40:
        return 0.1 * (epoch - 20) / 20
    if epoch < 90:
        return 1 + (epoch - 40) / 50
    if epoch < 140:
        return 2 + 0.5 * (epoch - 90) / 50
    if epoch < 240:
        return 2.5 + 0.8 * (epoch - 140) / 100
    return 3.3 + 1.7 * (epoch - 240) / 100


def cores_beta(epoch: float) -> float:
    """Along 100 epochs: 0 for 10, linear to 2 over 30, then 2."""
    return 2 * min(max(epoch - 10, 0) / 30, 1)


def cores_kept(logits: Array, labels: Array) -> list[bool]:
    """CE_i - mean_k(-log p_ik) <= 0, with log(p + 1e-8)."""
    found = []
    for p, y in zip(softmax(logits), labels, strict=True):
        logs = [math.log(value + 1e-8) for value in p]
        found.append(-logs[y] + mean(logs) <= 0)
    return found


def cores(logits: Array, labels: Array, prior: Array, beta: float, kept: list[bool] | None = None) -> float:
    """Mean over the kept of CE_i - beta sum_k prior_k (-log(p_ik + 1e-8)), over 1 + beta; CE itself is exact."""
    total, count = 0.0, 0
    for i, p in enumerate(softmax(logits)):
        if kept is None or kept[i]:
            logs = [math.log(value + 1e-8) for value in p]
            total += cross_entropy(p, labels[i]) + beta * sum(w * log for w, log in zip(prior, logs, strict=True))
            count += 1
    return total / max(count, 1) / (1 + beta)


def clipped(logits: Array, largest: float) -> Array:
    """z min(1, d / ||z||), row by row."""
    return np.array([z * min(1.0, largest / math.sqrt(sum(v * v for v in z))) for z in logits])


def mixup(logits_of_mixed: Array, labels: Array, partner: Array, w: float) -> float:
    """w CE(y_i) + (1 - w) CE(y_partner), averaged over the batch."""
    own = each(logits_of_mixed, labels, cross_entropy)
    other = each(logits_of_mixed, labels[partner], cross_entropy)
    return mean([w * a + (1 - w) * b for a, b in zip(own, other, strict=True)])
