"""From the evidence of several methods to one score of suspicion.

The score is the mean of the ranks by all evidence: margin, loss, aum and weight of each method, confident learning on the mean
probabilities, and disagreement. Evidence of different kinds has different scales, and ranks need no model of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from benchmark.audit import confident
from benchmark.audit.folds import Found

TINY = 1e-12  # smallest probability whose logarithm counts


def ranked(values: np.ndarray) -> np.ndarray:
    """Return average ranks divided by n, (n,), in (0, 1]; the largest value is the most suspicious and has the largest rank."""
    return rankdata(values) / len(values)


def members(found: Found, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the evidence of one method, (n,) each; larger is more suspicious.

    margin: minus the out-of-fold margin, the log-probability of the label minus the largest other one
    loss: mean cross-entropy over the evaluations of the trainings with the example
    aum: minus the mean margin of logits over these evaluations, the area under the margin
    weight: minus the last example weight times the batch size; absent for a method without weights
    """
    logs = np.log(np.maximum(found.probabilities, TINY))
    every = {
        "margin": -confident.margins(logs, labels),
        "loss": found.loss,
        "aum": -found.aum,
        "weight": -found.weight,
    }
    return {name: _filled(values) for name, values in every.items() if np.isfinite(values).any()}


def _filled(values: np.ndarray) -> np.ndarray:
    """Return the values with the mean in place of NaN, such as the weight of an example that no batch had."""
    return np.where(np.isnan(values), np.nanmean(values), values)


@dataclass(frozen=True)
class Scores:
    """The combined evidence on n examples.

    suspicion: (n,), larger is more suspicious
    probabilities: mean out-of-fold probabilities over methods, (n, classes)
    disagreement: share of the methods that predict another class than the label, out of fold, (n,)
    confident: suspicion of confident learning, (n,)
    """

    suspicion: np.ndarray
    probabilities: np.ndarray
    disagreement: np.ndarray
    confident: np.ndarray

    @property
    def suggested(self) -> np.ndarray:
        """The most probable class of each example, int64 (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def order(self) -> np.ndarray:
        """The examples from the most to the least suspicious, int64 (n,); ties by position."""
        return np.argsort(-self.suspicion, kind="stable")


def combine(
    methods: Iterable[tuple[str, Found]], labels: np.ndarray, keep: Callable[[str, dict[str, np.ndarray]], None] | None = None
) -> Scores:
    """Return the combined evidence; one method at a time is in memory.

    methods: each name with its results; keep: receives the evidence of each method, with its prediction
    """
    n, count, terms = len(labels), 0, 2  # confident learning and disagreement come last
    ranks, disagreement, probabilities = np.zeros(n), np.zeros(n), np.zeros(0)
    for name, found in methods:
        evidence, prediction = members(found, labels), found.probabilities.argmax(axis=1)
        ranks += sum(map(ranked, evidence.values()))
        terms += len(evidence)
        disagreement += prediction != labels
        probabilities = found.probabilities.astype(np.float64) + (probabilities if count else 0.0)
        count += 1
        if keep is not None:
            keep(name, {**evidence, "prediction": prediction})
    probabilities /= count
    confident_suspicion = confident.suspicion(probabilities, labels)
    ranks += ranked(confident_suspicion) + ranked(disagreement)
    return Scores(ranks / terms, probabilities, disagreement / count, confident_suspicion)
