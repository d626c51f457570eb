"""DISC (Li et al., CVPR 2023): the division of examples by two views' confidences, and the loss, in plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tests.references import Array, softmax


@dataclass
class Division:
    """Of each example: whether it is clean, hard, or corrected (purified), and its label; never two of them."""

    clean: list[bool]
    hard: list[bool]
    corrected: list[bool]
    labels: list[int]


def divided(weak: Array, strong: Array, labels: Array, c_w: Array, c_s: Array, offset: float = 0.5, cap: float = 0.99) -> Division:
    """From both views' probabilities, (N, K), and confidences before they move, (N,)."""
    found = Division([], [], [], [])
    for n, y in enumerate(labels):
        by_weak, by_strong = weak[n, y] > c_w[n], strong[n, y] > c_s[n]
        clean, hard = bool(by_weak and by_strong), bool(by_weak != by_strong)
        mean = (weak[n] + strong[n]) / 2
        sure = mean.max() > min((c_w[n] + c_s[n]) / 2 + offset, cap)
        corrected = bool(sure and not clean and not hard)
        found.clean.append(clean)
        found.hard.append(hard)
        found.corrected.append(corrected)
        found.labels.append(int(mean.argmax()) if corrected else int(y))
    return found


def confidence_after(c: Array, p: Array, m: float) -> Array:
    """c <- m c + (1 - m) max_k p."""
    return np.array([m * c[n] + (1 - m) * p[n].max() for n in range(len(c))])


def supervised(logits: Array, labels: Array, division: Division, lam_h: float, q: float = 0.7) -> float:
    """One view's part of (1/n) [ sum over clean of CE + lam_h sum over hard of (1 - p_y^q)/q ]."""
    p, total = softmax(logits), 0.0
    for n, y in enumerate(labels):
        if division.clean[n]:
            total -= math.log(p[n, y])
        if division.hard[n]:
            total += lam_h * (1 - p[n, y] ** q) / q
    return total / len(labels)


def mixup(mixed_logits: Array, labels: list[int], members: list[int], partners: dict[int, int], w: float) -> float:
    """Mean over the members of w CE(y_i) + (1 - w) CE(y_j) of mixed images, each with a partner among them; 0 without any."""
    log_p = np.log(softmax(mixed_logits))
    total = 0.0
    for n in members:
        total -= w * log_p[n, labels[n]] + (1 - w) * log_p[n, labels[partners[n]]]
    return total / max(1, len(members))
