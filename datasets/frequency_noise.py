"""Label noise towards frequent classes, for training sets with a long tail."""

from __future__ import annotations

import numpy as np

from datasets.class_noise import Symmetric
from datasets.noise import Corruption, Seen
from robust_benchmark.errors import UserError, choice, in_range


class FrequencyFlip(Corruption):
    """A label flips to a class with a probability in proportion to its size n_j, so the given labels keep a long tail.

    n_j counts the true labels of the images that noise acts on; the hyper-validation set gets the same T. In expectation, the share
    `rate` of the labels is wrong. In contrast, `UniformFlip` on a long tail fills the rare classes with wrong labels.

    rate: share of wrong labels, in [0, 1]
    targets: one of others, all: 'others', the other classes: T = (1 - rate) I + rate Q, Q[i, j] = n_j / (n - n_i) for j != i;
        'all', the true class included, so labels of frequent classes are wrong less often: T[i, j] = (1 - s) [i = j] + s n_j / n with
        s = rate / (1 - sum_j (n_j / n)^2)
    Source: the released code of Wei et al., "Robust Long-Tailed Learning under Label Noise" (RoLT), 2021: its kinds 'imb' and 'new'.
    """

    rate: float

    def __init__(self, rate: float = 0.4, targets: str = "others") -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.rule = choice("noise targets", targets, ("others", "all"))

    def targets_for(self, counts: np.ndarray, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """Return Q. Raises UserError if the classes are too unequal for it."""
        if (counts > 0).sum() < 2:
            raise UserError("noise=frequency needs training images of at least two classes")
        Q = np.tile(counts / counts.sum(), (len(counts), 1))
        if self.rule == "others":
            np.fill_diagonal(Q, 0)
            return Q / Q.sum(axis=1, keepdims=True)
        if self._share(Q) > 1:
            most = self.rate / self._share(Q)
            raise UserError(f"noise rate {self.rate:g} is above {most:.3g}, the largest that noise.targets=all gives at these class sizes")
        return Q

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return Symmetric(self._share(targets)).corrupt(seen.labels, targets, rng)

    def transition_matrix(self, targets: np.ndarray) -> np.ndarray:
        share = self._share(targets)
        return (1 - share) * np.eye(len(targets)) + share * targets

    def _share(self, targets: np.ndarray) -> float:
        """Return the share of labels that are redrawn, so that the expected share of wrong ones is `rate`."""
        return self.rate if self.rule == "others" else self.rate / (1 - float(np.square(targets[0]).sum()))
