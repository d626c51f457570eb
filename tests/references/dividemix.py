"""DivideMix (Li et al., ICLR 2020), piece by piece."""

from __future__ import annotations

import numpy as np
import scipy.special
from sklearn.mixture import GaussianMixture

from tests.references import Array, cross_entropies, one_hot, softmax


def scaled(losses: Array) -> Array:
    """(n,) moved and scaled to [0, 1]."""
    return (losses - losses.min()) / (losses.max() - losses.min())


def clean_probabilities(losses: Array) -> Array:
    """w, (N,): posterior of the component with the lower mean, of two normals fitted to the scaled losses."""
    column = scaled(losses).reshape(-1, 1)
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(column)
    return mixture.predict_proba(column)[:, mixture.means_.ravel().argmin()]


def sharpened(probabilities: Array, temperature: float = 0.5) -> Array:
    """p^(1/T), rows scaled to sum to 1."""
    power = probabilities ** (1 / temperature)
    return power / power.sum(axis=1, keepdims=True)


def refined(w: Array, onehot: Array, own_views: list[Array], temperature: float = 0.5) -> Array:
    """Targets of labelled examples: w y + (1 - w) mean of the network's own probabilities over the views, sharpened."""
    mean = sum(own_views) / len(own_views)
    return sharpened(w[:, None] * onehot + (1 - w[:, None]) * mean, temperature)


def guessed(views_of_both: list[Array], temperature: float = 0.5) -> Array:
    """Targets of unlabelled examples: mean probabilities of both networks over both views, sharpened."""
    return sharpened(sum(views_of_both) / len(views_of_both), temperature)


def mixed(values: Array, ratio: float, permutation: Array) -> Array:
    """r v_i + (1 - r) v_permutation(i) with r = max(ratio, 1 - ratio)."""
    larger = max(ratio, 1 - ratio)
    return np.stack([larger * values[i] + (1 - larger) * values[j] for i, j in enumerate(permutation)])


def unlabelled_weight(lambda_u: float, epoch: float, warm_up: float, ramp: float = 16.0) -> float:
    """lambda_u(t), with the epoch and its fraction counted from the beginning of training and `warm_up` in epochs."""
    return lambda_u * min(max((epoch - warm_up) / ramp, 0.0), 1.0)


def soft_cross_entropy(logits: Array, targets: Array) -> float:
    """Mean of -sum_k q_k log p_k."""
    return float(-(targets * scipy.special.log_softmax(logits, axis=1)).sum(axis=1).mean())


def prior_penalty(logits: Array) -> float:
    """sum_k (1/K) log((1/K) / mean_i p_ik): how far the mean prediction is from uniform."""
    classes = logits.shape[1]
    return float(sum(np.log(1 / classes / mean) / classes for mean in softmax(logits).mean(axis=0)))


def semi_loss(logits: Array, targets: Array, labelled: int, weight_u: float) -> float:
    """Of mixed examples, the `labelled` ones first: soft CE of these, weighted squared error of the others, and the penalty of all."""
    squared = ((softmax(logits[labelled:]) - targets[labelled:]) ** 2).mean() if labelled < len(logits) else 0.0
    return soft_cross_entropy(logits[:labelled], targets[:labelled]) + weight_u * float(squared) + prior_penalty(logits)


def warm_up_loss(logits: Array, labels: Array, penalty: bool) -> float:
    """Mean CE, with the confidence penalty minus the mean entropy."""
    negative_entropy = (softmax(logits) * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
    return float((cross_entropies(logits, labels) + penalty * negative_entropy).mean())


def warm_up_gradient(logits: Array, labels: Array, penalty: bool) -> Array:
    """Of the same in the logits, (n, K): of sum p log p it is p (log p - sum p log p)."""
    p, log_p = softmax(logits), scipy.special.log_softmax(logits, axis=1)
    of_entropy = p * (log_p - (p * log_p).sum(axis=1, keepdims=True))
    return (p - one_hot(labels, p.shape[1]) + penalty * of_entropy) / len(labels)
