"""Label noise between neighbouring classes."""

import numpy as np

from datasets.noise import Corruption
from robust_benchmark.errors import in_range


class Neighbour(Corruption):
    """The share `rate` of the labels flips to the next class, and of the last class to the first."""

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """The row of each class has a 1 at the class that its labels flip to."""
        return np.roll(np.eye(num_classes), 1, axis=1)
