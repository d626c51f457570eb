"""scikit-learn's two moons: points in the plane in two classes."""

import numpy as np
import torch
from sklearn.datasets import make_moons

from datasets.source import Source


def load(train: int = 1000, test: int = 500, spread: float = 0.2) -> Source:
    """Points of two interleaved half circles, float32 (n, 2).

    train, test: how many points, at least 10
    spread: standard deviation of the points around the half circles, at least 0
    """
    points, labels = make_moons(train + test, noise=spread, random_state=0)
    images = torch.from_numpy(points.astype(np.float32))
    classes = torch.from_numpy(labels.astype(np.int64))
    return Source(images[:train], classes[:train], images[train:], classes[train:], classes=("upper", "lower"))
