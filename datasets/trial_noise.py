"""The label noise of one trial on one source: its matrix Q, and the given labels of its images."""

from __future__ import annotations

import numpy as np

from datasets.checks import check_matrix, check_rate, check_whole_numbers
from datasets.noise import Corruption, Seen
from datasets.source import UNKNOWN, Source
from datasets.streams import numpy_stream


class TrialNoise:
    """A corruption, already for this source, with the trial's random numbers.

    targets: matrix Q, (classes, classes); the true labels of the training images determine it (see `on`)
    """

    targets: np.ndarray

    def __init__(self, source: Source, corruption: Corruption, seed: int) -> None:
        check_rate(corruption, corruption.rate)
        self._source, self._corruption, self._seed = source, corruption, seed

    def on(self, index: np.ndarray) -> np.ndarray:
        """Set Q for the training images `index` and return labels of all images of the source, (n,): the given ones for these images."""
        true, num_classes = self._source.true_labels.numpy(), len(self._source.classes)
        counts = np.bincount(true[index][true[index] != UNKNOWN], minlength=num_classes)
        self.targets = self._corruption.targets_for(counts, self._seed, numpy_stream(self._seed, "noise targets"))
        check_matrix(self._corruption, "targets", self.targets, num_classes)
        labels = true.copy()
        labels[index] = self.relabelled(index, "training labels")
        return labels

    def relabelled(self, index: np.ndarray, stream: str) -> np.ndarray:
        """Return given labels of the images `index`; call it after `on`."""
        if not self._corruption.synthetic:
            return self._source.train_labels.numpy()[index]
        seen = Seen(self._source.true_labels.numpy()[index], index, self._source, self._seed)
        given = self._corruption.relabel(seen, self.targets, numpy_stream(self._seed, stream))
        check_whole_numbers(self._corruption, "relabel", given, len(index), len(self._source.classes))
        return given
