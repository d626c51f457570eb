"""Label noise that depends on the image: random projections determine the probability of each other class."""

from __future__ import annotations

import math

import numpy as np
import torch

from datasets.mapped import Images
from datasets.noise import Corruption, Seen
from datasets.streams import numpy_stream
from robust_benchmark.errors import at_least, choice, in_range

DEVIATION = 0.1  # standard deviation of an image's probability of being wrong
CHUNK = 5000  # images that are float64 at a time


class InstanceNoise(Corruption):
    """Image i of class y is wrong with probability q_i; it then gets class j with probability softmax(scale x_i W_y)[j], j not y.

    q_i is normal with mean `rate` and deviation 0.1, truncated to [0, 1]. W_y is (d, classes), standard normal, drawn for each true class
    in each trial, and the same for the training and the hyper-validation set.

    rate: mean of q_i before truncation, in [0, 1]. The expected share of wrong labels is the truncated mean: 0.129 at a rate of 0.1, 0.206
        at 0.2, 0.300 at 0.3; labels are drawn, so the share varies between trials. At a rate of 0 no label is wrong
    scale: factor of the inputs, at least 0; None is 1 / sqrt(d), which spreads the wrong labels of a class. At 1 nearly every image has
        one certain wrong class
    inputs: one of standardised, raw: 'standardised': each channel (or each feature) of x_i has mean 0 and deviation 1 over the source's
        training images; 'raw': pixels in 0 .. 255 (or features) as they are, so the brightness of an image dominates, and most wrong
        labels of a class are of one other class. The released code uses these at a scale of 1; pixels in [0, 1] are 'raw' at 1 / 255
    Source: Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label Noise", NeurIPS 2020.
    """

    def __init__(self, rate: float = 0.4, scale: float | None = None, inputs: str = "standardised") -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.scale = None if scale is None else at_least("noise scale", scale, 0)
        self._raw = choice("noise inputs", inputs, ("standardised", "raw")) == "raw"

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cumulative = self.probabilities(seen, rng).cumsum(axis=1)
        draws = rng.random(len(seen.labels))[:, None]
        noisy: np.ndarray = (draws >= cumulative).sum(axis=1).clip(max=cumulative.shape[1] - 1)
        return noisy

    def transition_matrix(self, targets: np.ndarray) -> None:
        return None

    def probabilities(self, seen: Seen, rng: np.random.Generator) -> np.ndarray:
        """Return p(given label | image, true label), float64 (n, classes); the true label has 1 - q_i."""
        rows, chance = np.arange(len(seen.labels)), self._chances(len(seen.labels), rng)
        scores = self._scores(seen)
        scores[rows, seen.labels] = -np.inf
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        found: np.ndarray = chance[:, None] * odds / odds.sum(axis=1, keepdims=True)
        found[rows, seen.labels] = 1 - chance
        return found

    def _chances(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw q, (n,), by inverting the truncated normal distribution."""
        from scipy.special import ndtr, ndtri  # slow to import, and only this noise needs it

        if not self.rate:
            return np.zeros(n)
        low, high = ndtr(-self.rate / DEVIATION), ndtr((1 - self.rate) / DEVIATION)
        chances: np.ndarray = self.rate + DEVIATION * ndtri(low + (high - low) * rng.random(n))
        return chances.clip(0, 1)

    def _scores(self, seen: Seen) -> np.ndarray:
        """Return scale x_i W_y, (n, classes)."""
        mean, deviation = (0.0, 1.0) if self._raw else moments(seen.source.train_images)
        width, classes = math.prod(seen.source.train_images.shape[1:]), len(seen.source.classes)
        scale = width**-0.5 if self.scale is None else self.scale
        scores = np.zeros((len(seen.labels), classes))
        for label in range(classes):
            projection = numpy_stream(seen.trial_seed, "instance noise", label).normal(size=(width, classes))
            members = np.flatnonzero(seen.labels == label)
            for part in np.split(members, range(CHUNK, len(members), CHUNK)):
                inputs = by_channel(seen.source.train_images[seen.positions[part]]) - mean
                scores[part] = scale * (inputs / deviation).reshape(len(part), width) @ projection
        return scores


def by_channel(images: torch.Tensor) -> np.ndarray:
    """Return float64 (n, channels, pixels) of images, (n, channels, height, width), or of features, (n, width), one channel each."""
    return images.reshape(*images.shape[:2], math.prod(images.shape[2:])).numpy().astype(np.float64)


def moments(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel, (channels, 1) each; the deviation of a constant channel is 1."""
    n, channels = images.shape[:2]
    count = math.prod(images.shape[1:]) * n / channels

    def mean_of(power: int, centre: np.ndarray) -> np.ndarray:
        parts = (images[first : first + CHUNK] for first in range(0, n, CHUNK))
        sums = (((by_channel(part) - centre) ** power).sum(axis=(0, 2)) for part in parts)
        return sum(sums, np.zeros(channels))[:, None] / count

    mean = mean_of(1, np.zeros((channels, 1)))
    deviation = np.sqrt(mean_of(2, mean))
    return mean, np.where(deviation > 0, deviation, 1)
