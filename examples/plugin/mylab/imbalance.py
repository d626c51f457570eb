"""An imbalance in which the first class is rare."""

import numpy as np

from datasets.imbalance import Imbalance
from robust_benchmark.errors import in_range


class Thinned(Imbalance):
    """The first class keeps the share `kept` of its images; the other classes keep all of theirs."""

    def __init__(self, kept: float = 0.5) -> None:
        self.kept = in_range("kept", kept, 0, 1)

    def __str__(self) -> str:
        return f"thinned imbalance of {self.kept:g}"

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """The number of images that remain in each class."""
        wanted = np.bincount(labels, minlength=num_classes)
        wanted[0] = int(self.kept * wanted[0])
        return wanted
