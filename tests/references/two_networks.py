"""Two networks that learn from each other: JoCoR, Decoupling and Co-teaching+, in plain loops."""

from __future__ import annotations

import math

import numpy as np

from tests.references import Array, cross_entropies, softmax
from tests.references.coteaching import smallest


def kl(p: Array, q: Array) -> float:
    """KL(p || q) of two distributions, (K,)."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def joint_losses(logits_1: Array, logits_2: Array, labels: Array, lam: float) -> Array:
    """Wei et al., CVPR 2020 (JoCoR): (1 - lam)(CE1 + CE2) + lam (KL(p2 || p1) + KL(p1 || p2)), (n,)."""
    p1, p2 = softmax(logits_1), softmax(logits_2)
    ce1, ce2 = cross_entropies(logits_1, labels), cross_entropies(logits_2, labels)
    return np.array(
        [(1 - lam) * (ce1[n] + ce2[n]) + lam * (kl(p2[n], p1[n]) + kl(p1[n], p2[n])) for n in range(len(labels))],
    )


def jocor_loss(logits_1: Array, logits_2: Array, labels: Array, lam: float, selection: list[int]) -> float:
    """The mean of the joint losses over a selection, which is constant."""
    return float(joint_losses(logits_1, logits_2, labels, lam)[selection].mean())


def disagreements(logits_1: Array, logits_2: Array) -> list[int]:
    """Positions where the two predict different classes."""
    return [n for n in range(len(logits_1)) if logits_1[n].argmax() != logits_2[n].argmax()]


def decoupling_loss(logits: Array, labels: Array, selection: list[int]) -> float:
    """Malach and Shalev-Shwartz, NeurIPS 2017: one network's mean CE over the disagreements, 0 where there are none."""
    return float(cross_entropies(logits, labels)[selection].mean()) if selection else 0.0


def plus_selections(logits_1: Array, logits_2: Array, labels: Array, share: float) -> tuple[list[int], list[int]]:
    """Yu et al., ICML 2019 (Co-teaching+): what network 1 and network 2 learn from. Within the disagreements, or all where there are none,
    each picks the floor(share |D|) smallest of its losses, at least one, for the other."""
    among = disagreements(logits_1, logits_2) or list(range(len(labels)))
    k = max(1, math.floor(share * len(among) + 1e-9))
    picked = [[among[n] for n in smallest(cross_entropies(z, labels)[among], k)] for z in (logits_1, logits_2)]
    return picked[1], picked[0]
