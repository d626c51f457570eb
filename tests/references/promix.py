"""ProMix's core (Xiao et al., IJCAI 2023): what it trains on, in plain loops."""

from __future__ import annotations

import math

from tests.references import Array


def class_wise(losses: Array, labels: Array, rho: float, classes: int) -> list[bool]:
    """In each label class the ceil(rho N / K) smallest losses, at most the class's size, at least 1."""
    quota = max(1, math.ceil(rho * len(losses) / classes - 1e-9))
    kept = [False] * len(losses)
    for k in range(classes):
        members = sorted((n for n in range(len(losses)) if labels[n] == k), key=lambda n: (losses[n], n))
        for n in members[:quota]:
            kept[n] = True
    return kept


def loss(cross_entropies: Array, p_of_label: Array, selected: list[bool], tau: float) -> float:
    """Mean cross-entropy over what is selected or has p_y > tau; 0 where there is none."""
    chosen = [c for c, p, s in zip(cross_entropies, p_of_label, selected, strict=True) if s or p > tau]
    return sum(chosen) / len(chosen) if chosen else 0.0
