"""Methods with a transition matrix T[i, j] = p(given label j | true label i): losses, estimates of T, in plain loops."""

from __future__ import annotations

import math

import numpy as np

from tests.references import Array, softmax


def forward_loss(logits: Array, labels: Array, T: Array) -> float:
    """Patrini et al., CVPR 2017: mean of -log sum_i p_i T[i, y]."""
    p = softmax(logits)
    total = 0.0
    for n, y in enumerate(labels):
        total -= math.log(sum(p[n, i] * T[i, y] for i in range(len(T))))
    return total / len(labels)


def backward_losses(p: Array, T: Array, smallest: float = 1e-7) -> Array:
    """Patrini et al.: of each given label j, sum_k Tinv[j, k] (-log p_k); p, (K,)."""
    inverse = np.linalg.inv(T)
    K = len(T)
    return np.array([sum(inverse[j, k] * -math.log(max(p[k], smallest)) for k in range(K)) for j in range(K)])


def backward_loss(logits: Array, labels: Array, T: Array) -> float:
    """Mean of the backward losses of the given labels."""
    p = softmax(logits)
    return float(np.mean([backward_losses(p[n], T)[y] for n, y in enumerate(labels)]))


def anchor_matrix(p: Array, percentile: float = 97.0) -> Array:
    """Row i: the prediction for the example whose p_i is the largest below that percentile of p_i (at 100, and where none is below, the
    largest of all)."""
    K = p.shape[1]
    T = np.zeros((K, K))
    for i in range(K):
        threshold = np.percentile(p[:, i], percentile, method="higher")
        candidates = [n for n in range(len(p)) if p[n, i] < threshold] if percentile < 100 else []
        best = max(candidates or range(len(p)), key=lambda n: p[n, i])
        T[i] = p[best] / p[best].sum()
    return T


def dual_matrix(p: Array, labels: Array, percentile: float = 97.0) -> Array:
    """Yao et al., NeurIPS 2020: T = Ta Tb, Tb[l, j] a count; a class that is never predicted counts as labelled right."""
    K = p.shape[1]
    second = np.eye(K)
    predicted = p.argmax(axis=1)
    for row in range(K):
        members = [labels[n] for n in range(len(p)) if predicted[n] == row]
        if members:
            second[row] = [members.count(j) / len(members) for j in range(K)]
    return anchor_matrix(p, percentile) @ second


def gold_matrix(p: Array, true_labels: Array) -> Array:
    """Hendrycks et al., NeurIPS 2018: row i is the mean prediction for clean examples of class i, e_i where there are none."""
    K = p.shape[1]
    C = np.eye(K)
    for i in range(K):
        members = [p[n] for n in range(len(p)) if true_labels[n] == i]
        if members:
            C[i] = sum(members) / len(members)
    return C


def gold_loss(logits: Array, labels: Array, gold: Array, C: Array) -> float:
    """(sum over noisy of -log sum_i p_i C[i, y] + sum over gold of CE) / batch size."""
    p = softmax(logits)
    total = 0.0
    for n, y in enumerate(labels):
        total -= math.log(p[n, y] if gold[n] else sum(p[n, i] * C[i, y] for i in range(len(C))))
    return total / len(labels)


def importance_weights(logits: Array, labels: Array, T: Array) -> Array:
    """Xia et al., NeurIPS 2019 (T-Revision): p_y / (p T)_y."""
    p = softmax(logits)
    return np.array([p[n, y] / sum(p[n, i] * T[i, y] for i in range(len(T))) for n, y in enumerate(labels)])


def revision_loss(logits: Array, labels: Array, T: Array) -> float:
    """Mean of weight times cross-entropy."""
    p = softmax(logits)
    weights = importance_weights(logits, labels, T)
    return float(np.mean([weights[n] * -math.log(p[n, y]) for n, y in enumerate(labels)]))


def volminnet_matrix(w: Array) -> Array:
    """Li et al., ICML 2021: rows of I + offdiag(sigmoid(w)), normalised."""
    K = len(w)
    T = np.eye(K)
    for i in range(K):
        for j in range(K):
            if i != j:
                T[i, j] = 1 / (1 + math.exp(-w[i, j]))
    return T / T.sum(axis=1, keepdims=True)


def volminnet_loss(logits: Array, labels: Array, w: Array, lam: float) -> float:
    """mean -log (p T)_y + lam log |det T|."""
    T = volminnet_matrix(w)
    return forward_loss(logits, labels, T) + lam * math.log(abs(np.linalg.det(T)))
