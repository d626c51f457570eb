"""SOP (Liu et al., ICML 2022): sparse variables u, (N,), and v, (N, K), beside the classifier; updates by numerical gradients."""

from __future__ import annotations

import math

import numpy as np

from tests.references import Array, softmax


def corruption(u: Array, v: Array, y: int) -> tuple[Array, Array]:
    """U = u^2 at the label and V = v^2 elsewhere, both clamped to [0, 1], (K,)."""
    K = len(v)
    U, V = np.zeros(K), np.zeros(K)
    for k in range(K):
        if k == y:
            U[k] = min(max(float(u) ** 2, 0), 1)
        else:
            V[k] = min(max(v[k] ** 2, 0), 1)
    return U, V


def corrected(logits: Array, u: Array, v: Array, labels: Array, held_v: Array) -> Array:
    """ph = a / sum a with a = max(p + U - V, 1e-4); V at `held_v`, as no gradient goes through it. (n, K)"""
    p = softmax(logits)
    found = np.zeros_like(p)
    for n, y in enumerate(labels):
        U, _ = corruption(u[n], v[n], y)
        _, V = corruption(u[n], held_v[n], y)
        a = np.maximum(p[n] + U - V, 1e-4)
        found[n] = a / a.sum()
    return found


def cross_entropy(logits: Array, u: Array, v: Array, labels: Array, held_v: Array) -> float:
    ph = corrected(logits, u, v, labels, held_v)
    return float(np.mean([-math.log(ph[n, y]) for n, y in enumerate(labels)]))


def squared_error(logits: Array, u: Array, v: Array, labels: Array) -> float:
    """(1/n) sum ||h + U - V - e_y||^2, h the one-hot predicted class."""
    K, total = logits.shape[1], 0.0
    for n, y in enumerate(labels):
        U, V = corruption(u[n], v[n], y)
        h, e = np.eye(K)[logits[n].argmax()], np.eye(K)[y]
        total += ((h + U - V - e) ** 2).sum()
    return total / len(labels)


def loss(logits: Array, u: Array, v: Array, labels: Array, held_v: Array | None = None) -> float:
    """Both terms. The classifier learns from the first alone, as the second has no gradient for it."""
    return cross_entropy(logits, u, v, labels, v if held_v is None else held_v) + squared_error(logits, u, v, labels)


def balance(ph: Array) -> float:
    """sum_k (1/K)(-log mean ph_k), ph being corrected predictions."""
    K = ph.shape[1]
    return sum(-math.log(ph[:, k].mean()) / K for k in range(K))


def consistency(weak: Array, strong: Array) -> float:
    """Mean KL(p(weak) || p(strong)) of logits, (n, K), the first being constant."""
    p, q = softmax(weak), softmax(strong)
    return float(np.mean([sum(a * math.log(a / b) for a, b in zip(p[n], q[n], strict=True)) for n in range(len(p))]))
