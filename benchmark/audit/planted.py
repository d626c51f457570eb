"""Errors that are planted on purpose: they measure which share of wrong labels a list finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError

FEWEST = 20  # planted errors, if a tenth of the data allows it
KINDS = ("uniform", "confusion")


@dataclass(frozen=True)
class Planted:
    """Wrong labels for a while.

    positions: int64 (m,), sorted; labels: the planted labels, int64 (m,)
    kinds: index into KINDS, int64 (m,): any other class with equal chances, or along the confusion between classes
    """

    positions: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray

    def into(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels with the planted ones in their places; `labels` stays as it is."""
        changed = labels.copy()
        changed[self.positions] = self.labels
        return changed


def plant(labels: np.ndarray, probabilities: np.ndarray, share: float, seed: int) -> Planted:
    """Draw examples and a wrong label for each: every second one uniformly, the others along the confusion between classes.

    labels: given labels, int64 (n,); probabilities: out of fold, (n, classes)
    share: share of the examples, in [0, 0.1]; at least FEWEST examples, and at most a tenth of all
    Raises UserError if there are too few examples.

    A planted label is neither the given label nor the predicted one, as the predicted one is right where the given one is wrong. With two
    classes, therefore, only examples whose prediction is their label are drawn.
    """
    rng = numpy_stream(seed, "planted errors")
    chances = _allowed(labels, probabilities)
    eligible = np.flatnonzero(chances.any(axis=1))
    count = min(len(eligible), len(labels) // 10, max(round(share * len(labels)), FEWEST))
    if count == 0:
        raise UserError(f"{len(labels)} examples are too few to plant errors among them, which measure the list: give at least 10")
    positions = np.sort(rng.permutation(eligible)[:count])
    kinds = rng.permutation(np.arange(count) % 2)
    uniform = chances[positions].astype(np.float64)
    confused = uniform * confusion(labels, probabilities)[labels[positions]]
    rows = np.where((kinds == 0)[:, None], uniform, confused + 1e-12 * uniform)
    planted = [rng.choice(len(row), p=row / row.sum()) for row in rows]
    return Planted(positions, np.array(planted, dtype=np.int64), kinds)


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (classes, classes): entry [i, j] is the share of examples with given label j and predicted class i, by probabilities.

    Predictions stand for true labels, so row i says which labels the examples of class i get.
    """
    classes = probabilities.shape[1]
    return np.stack([probabilities[labels == given].sum(axis=0) for given in range(classes)], axis=1) / len(labels)


def _allowed(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the classes that may be planted, bool (n, classes)."""
    allowed = np.ones(probabilities.shape, dtype=bool)
    rows = np.arange(len(labels))
    allowed[rows, labels] = False
    allowed[rows, probabilities.argmax(axis=1)] = False
    return allowed


def ranks_among(scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the rank of each planted example among the examples that are not planted, int64 (m,), 1 is the most suspicious.

    scores: (n,), larger is more suspicious. Ties count against the planted example. It is the length that the user's own list needs to
    reach an example with this score.
    """
    others = np.sort(np.delete(scores, positions))
    return len(others) - np.searchsorted(others, scores[positions], side="left") + 1
