"""Label noise. Each generator selects exactly round(rate n) examples and relabels them by the rows of a matrix Q.

Q is the distribution of the new label given the true one, so the transition matrix is T = (1 - rate) I + rate Q,
T[i, j] = p(noisy label j | true label i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from datasets.source import Source
from robust_benchmark.errors import FEW, UserError, choice, in_range, unknown


@dataclass(frozen=True)
class Seen:
    """The input of a noise: true labels, int64 (n,), their positions among the training images of `source`, (n,), and the trial."""

    labels: np.ndarray
    positions: np.ndarray
    source: Source
    trial_seed: int

    @property
    def images(self) -> torch.Tensor:
        """The images as stored, copied, or read from a mapped file on request."""
        return self.source.train_images[self.positions]


class Replacement(NamedTuple):
    """Images of none of the classes that replace training images, whose given labels stay.

    train, hyper_validation: places of the replaced images in each set, int64 (k,) and (h,)
    images: the new images, uint8 (k + h, channels, height, width), in the same order
    """

    train: np.ndarray
    hyper_validation: np.ndarray
    images: np.ndarray


class Corruption:
    """The label noise of a training set; this base class changes nothing.

    rate: share of labels that are selected for relabelling; None if it is not an option, so wrong labels are counted
    synthetic: the noise makes given labels from the true ones and needs them; if false, the source's given labels stay
    """

    rate: float | None = 0.0
    synthetic: bool = True

    def on(self, source: Source) -> Corruption:
        """Return the noise for one source. Noise that depends on the names of classes overrides it."""
        return self

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        """Return indices of the training examples, from the true `labels`, (n,)."""
        return np.arange(len(labels))

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """Return Q of this trial, row-stochastic, (num_classes, num_classes)."""
        return np.eye(num_classes)

    def targets_for(self, counts: np.ndarray, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """Return Q for a training set with these numbers of true labels, int64 (num_classes,). Noise that depends on them overrides it."""
        return self.targets(len(counts), trial_seed, rng)

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return given labels, (n,). Noise that depends on more than the true label overrides it."""
        return self.corrupt(seen.labels, targets, rng)

    def replacement(self, sizes: Sequence[int], source: Source, trial_seed: int) -> Replacement | None:
        """Return the images to replace in the training and the hyper-validation set of these sizes; None if all images stay."""
        return None

    def corrupt(self, labels: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return labels, (n,), with exactly round(rate n) of them, selected uniformly, redrawn from `targets`[true label]."""
        picked = rng.permutation(len(labels))[: round((self.rate or 0) * len(labels))]
        cumulative = targets.cumsum(axis=1)
        draws = rng.random(len(picked))[:, None]
        noisy = labels.copy()
        noisy[picked] = (draws >= cumulative[labels[picked]]).sum(axis=1).clip(max=len(targets) - 1)
        return noisy

    def transition_matrix(self, targets: np.ndarray) -> np.ndarray | None:
        """Return T = (1 - rate) I + rate Q; None if labels depend on more than the class, so T is counted on the training set."""
        rate = self.rate or 0
        return (1 - rate) * np.eye(len(targets)) + rate * targets


def class_number(given: object, classes: tuple[str, ...]) -> int:
    """Return the number of the class that a user names, by name or number. Raises UserError with the nearest name."""
    if isinstance(given, str) and given in classes:
        return classes.index(given)
    number = int(given) if isinstance(given, str) and given.isdecimal() else given
    if isinstance(number, bool) or not isinstance(number, int):
        raise unknown("class", str(given), classes, FEW)
    if not 0 <= number < len(classes):
        raise UserError(f"class {given} is not in 0 .. {len(classes) - 1}")
    return number


class NoNoise(Corruption):
    """The labels as published, or as given in a user's data."""

    synthetic = False


class UniformFlip(Corruption):
    """Symmetric noise: a label flips to any other class with equal probability (UniformFlip, section 4.2 of Ren et al., 2018).

    rate: share of selected examples, in [0, 1]
    targets: one of others, released: 'others', the paper's definition: the K - 1 other classes, so `rate` of the labels are wrong;
        'released', as in the published code: classes 0 .. K - 2 for every true class, so a selected label may stay right
        (36 % wrong at rate 0.4 and K = 10) and class K - 1 is never a noise label.
    """

    def __init__(self, rate: float = 0.4, targets: str = "others") -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.rule = choice("noise targets", targets, ("others", "released"))

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        if self.rule == "released":
            return np.tile(np.append(np.full(num_classes - 1, 1 / (num_classes - 1)), 0.0), (num_classes, 1))
        return (1 - np.eye(num_classes)) / (num_classes - 1)


class BackgroundFlip(Corruption):
    """All classes flip to one background class (BackgroundFlip, section 4.2 of Ren et al., 2018).

    The share `rate` of all examples gets the background class as label. Labels of examples of this class stay right (36 % wrong at
    rate 0.4 and K = 10).

    rate: share of selected examples, in [0, 1]
    background: a class; or a list of classes, from which the trial with seed s takes entry s modulo its length; or None, which
        draws a class in each trial.
    """

    def __init__(self, rate: float = 0.4, background: int | list[int] | None = None) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.background = background

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        targets = np.zeros((num_classes, num_classes))
        targets[:, self._background(num_classes, trial_seed, rng)] = 1
        return targets

    def _background(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> int:
        if self.background is None:
            return int(rng.integers(num_classes))
        given = list(self.background) if isinstance(self.background, list | tuple) else [self.background]
        if not given:
            raise UserError("the list of background classes is empty")
        for background in given:
            if isinstance(background, bool) or not isinstance(background, int):
                raise UserError(f"background class {background!r} is not a whole number")
            if not 0 <= background < num_classes:
                raise UserError(f"background class {background} is not in 0 .. {num_classes - 1}")
        return given[trial_seed % len(given)]
