"""LDAM with deferred re-weighting (Cao et al., NeurIPS 2019), and the class-balanced weights of Cui et al. (CVPR 2019)."""

from __future__ import annotations

import numpy as np

from tests.references import Array, cross_entropies


def margins(counts: Array, largest: float = 0.5) -> Array:
    """Delta_k, (K,), in proportion to n_k^(-1/4), with the given largest."""
    quarter_root = np.asarray(counts, dtype=np.float64) ** -0.25
    return largest * quarter_root / quarter_root.max()


def class_balanced_weights(counts: Array, beta: float = 0.9999) -> Array:
    """(1 - beta) / (1 - beta^n_k), (K,), scaled to sum to K."""
    raw = np.array([(1 - beta) / (1 - beta**n) for n in map(float, counts)])
    return raw * len(raw) / raw.sum()


def cosines(features: Array, columns: Array) -> Array:
    """Between each feature, (n, d), and each class's weights, (K, d)."""
    return np.array([[h @ w / np.linalg.norm(h) / np.linalg.norm(w) for w in columns] for h in features])


def logits(cos: Array, labels: Array, delta: Array, scale: float = 30.0) -> Array:
    """s (cos - Delta_y [k = y])."""
    moved = cos.copy()
    for i, y in enumerate(labels):
        moved[i, y] -= delta[y]
    return scale * moved


def class_weights_at(share: float, counts: Array, drw: float = 0.8, beta: float = 0.9999) -> Array:
    """Ones before the share `drw` of training is done, class-balanced from there on; never where `drw` is 1."""
    return class_balanced_weights(counts, beta) if share >= drw and drw < 1 else np.ones(len(counts))


def loss(cos: Array, labels: Array, delta: Array, class_weights: Array, scale: float = 30.0) -> float:
    """Mean of CE over the batch, weighted by w_y and divided by the sum of the weights, as in the authors' code."""
    return float(np.average(cross_entropies(logits(cos, labels, delta, scale), labels), weights=class_weights[labels]))
