"""Label noise of dark images."""

import numpy as np

from datasets.noise import Corruption, Seen
from robust_benchmark.errors import in_range


class Dim(Corruption):
    """The darkest images get the label of a random other class.

    rate: share of the images whose label changes, in [0, 1]
    """

    def __init__(self, rate: float = 0.2) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Given labels, int64 (n,), from the true ones."""
        brightness = seen.images.flatten(1).float().mean(1).numpy()
        darkest = np.argsort(brightness, kind="stable")[: round(self.rate * len(brightness))]
        classes = len(targets)
        labels = seen.labels.copy()
        labels[darkest] = (labels[darkest] + rng.integers(1, classes, len(darkest))) % classes
        return labels

    def transition_matrix(self, targets: np.ndarray) -> None:
        """None: the labels depend on more than the class, so the suite counts the matrix."""
