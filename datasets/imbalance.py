"""Class imbalance: one class outnumbers the others by a given ratio."""

from __future__ import annotations

import numpy as np

from datasets.noise import Corruption
from robust_benchmark.errors import UserError, in_range


class ClassImbalance(Corruption):
    """The majority class makes the share `ratio` of the training set; the other classes share the rest (section 4.1 of Ren et al., 2018).

    ratio: share of the majority class, in (0, 1); 0.995 is the paper's 200:1 between two classes
    majority: the class that outnumbers the others; None is the last one (the nines of the 4-vs-9 task)
    total: size of the training set, clean set included; None takes as many images as the data allows
    """

    def __init__(self, ratio: float = 0.995, majority: int | None = None, total: int | None = None) -> None:
        self.ratio = in_range("imbalance ratio", ratio, 0, 1)
        self.majority = majority
        self.total = total

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        kept = [rng.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(self.counts(labels, num_classes))]
        return rng.permutation(np.concatenate(kept))

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """How many examples of each class are kept, (num_classes,)."""
        majority = num_classes - 1 if self.majority is None else self.majority
        if not 0 <= majority < num_classes:
            raise UserError(f"majority class {majority} is not in 0 .. {num_classes - 1}")
        shares = np.full(num_classes, (1 - self.ratio) / (num_classes - 1))
        shares[majority] = self.ratio
        available = np.bincount(labels, minlength=num_classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            most = int(np.nanmin(available / shares) + 1e-6)  # what falls short of a whole number by float error only is whole
        total = most if self.total is None else self.total
        counts: np.ndarray = np.floor(shares * total + 1e-6).astype(int)
        largest_remainders = np.argsort(counts - shares * total, kind="stable")[: total - counts.sum()]
        counts[largest_remainders] += 1
        for label, (count, there) in enumerate(zip(counts, available, strict=True)):
            if not 1 <= count <= there:
                raise UserError(
                    f"imbalance ratio {self.ratio:g} with a total of {total} asks for {count} images of class {label},"
                    f" which has {there}; at least 1 is needed"
                )
        return counts
