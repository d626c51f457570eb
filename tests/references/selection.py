"""Methods that select examples or parameters, from their papers' formulas, in plain loops."""

from __future__ import annotations

import itertools

import numpy as np

from tests.references import Array


def self_paced(losses: list[float], threshold: float) -> tuple[int, ...]:
    """The 0/1 weights that minimise sum_i v_i l_i - threshold sum_i v_i, by trying all."""
    tried = itertools.product((0, 1), repeat=len(losses))
    return min(tried, key=lambda v: sum(a * (loss - threshold) for a, loss in zip(v, losses, strict=True)))


def self_paced_soft(losses: list[float], threshold: float) -> list[float]:
    """max(0, 1 - l_i / threshold)."""
    return [max(0.0, 1 - loss / threshold) for loss in losses]


def criticalities(parameters: list[Array], gradients: list[Array]) -> Array:
    """|g_j theta_j| of all entries, one after another."""
    return np.concatenate([np.abs(g * p).ravel() for p, g in zip(parameters, gradients, strict=True)])


def cdr(parameters: list[Array], gradients: list[Array], tau: float) -> list[Array]:
    """Gradients of weights: of the largest share 1 - tau of |g_j theta_j| over all of them, times 1 - tau; of the others zero."""
    scores = criticalities(parameters, gradients)
    kept = max(1, round((1 - tau) * len(scores)))
    cut = sorted(scores)[-kept]
    return [np.where(np.abs(g * p) >= cut, (1 - tau) * g, 0) for p, g in zip(parameters, gradients, strict=True)]


def class_weights(labels: list[int], classes: int) -> list[float]:
    """(mean class count) / n_c, 0 for a class without examples."""
    counts = [labels.count(c) for c in range(classes)]
    mean = sum(counts) / classes
    return [mean / n if n else 0.0 for n in counts]
