"""Class imbalance: the number of images of each class in the training set."""

from __future__ import annotations

import numpy as np

from datasets.checks import check_counts
from datasets.noise import Corruption
from robust_benchmark.errors import UserError, at_least, choice, in_range, whole


class Imbalance:
    """Selects training images by class; this base class keeps all of them.

    after_noise: it counts the given labels, after label noise; if false, the true labels, and noise acts on the images that remain
    in_file_order: `select` needs the labels in the order of the source's images, and not in random order
    """

    after_noise: bool = False
    in_file_order: bool = False

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray | None:
        """Return how many examples of each class to keep, int64 (num_classes,), from the labels, (n,); None keeps all."""
        return None

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Return the counts of `wanted`. Raises UserError if a class is left empty or has fewer examples."""
        wanted, available = self.wanted(labels, num_classes), np.bincount(labels, minlength=num_classes)
        if wanted is None:
            return available
        check_counts(self, wanted, num_classes)
        for label in np.argsort(available, kind="stable"):  # the scarcest class limits the others, so its message comes first
            count, there = wanted[label], available[label]
            if not 1 <= count <= there:
                raise UserError(f"{self} asks for {count} images of class {label}, which has {there}; at least 1 is needed")
        return wanted

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        """Return positions of the training examples: in random order, or in the original order if all are kept."""
        if self.wanted(labels, num_classes) is None:
            return np.arange(len(labels))
        counts = self.counts(labels, num_classes)
        kept = [rng.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(counts)]
        return rng.permutation(np.concatenate(kept))


class Majority(Imbalance):
    """One class makes the share `ratio` of the training set; the other classes divide the rest equally (section 4.1 of Ren et al., 2018).

    ratio: share of the majority class, in (0, 1); 0.995 is the paper's 200:1 between two classes
    majority: the majority class, at least 0; None is the last class (the nines of the 4-vs-9 task)
    total: size of the training set, at least 1, clean set included; None takes as many images as the data allows
    """

    def __init__(self, ratio: float = 0.995, majority: int | None = None, total: int | None = None) -> None:
        self.ratio = in_range("imbalance ratio", ratio, 0, 1)
        self.majority = majority
        self.total = None if total is None else whole("imbalance total", total, 1)

    def __str__(self) -> str:
        return f"imbalance ratio {self.ratio:g}" + ("" if self.total is None else f" with a total of {self.total}")

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        majority = num_classes - 1 if self.majority is None else self.majority
        if isinstance(majority, bool) or not isinstance(majority, int):
            raise UserError(f"majority class {majority!r} is not a whole number")
        if not 0 <= majority < num_classes:
            raise UserError(f"majority class {majority} is not in 0 .. {num_classes - 1}")
        shares = np.full(num_classes, (1 - self.ratio) / (num_classes - 1))
        shares[majority] = self.ratio
        available = np.bincount(labels, minlength=num_classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            most = int(np.nanmin(available / shares) + 1e-6)  # a value below a whole number only by float error is whole
        total = most if self.total is None else self.total
        counts: np.ndarray = np.floor(shares * total + 1e-6).astype(int)
        largest_remainders = np.argsort(counts - shares * total, kind="stable")[: total - counts.sum()]
        counts[largest_remainders] += 1
        return counts


class Ratio(Imbalance):
    """The options of imbalances by a size ratio rho; the subclasses describe them."""

    def __init__(self, rho: float, images: str, after_noise: bool) -> None:
        self.rho = at_least("rho", rho, 1)
        self.in_file_order = choice("imbalance images", images, ("random", "published")) == "published"
        self.after_noise = after_noise

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        if not self.in_file_order:
            return super().select(labels, num_classes, rng)
        published, kept = np.random.RandomState(0), []  # one stream for all classes, in their order
        for label, count in enumerate(self.counts(labels, num_classes)):
            members = np.flatnonzero(labels == label)
            published.shuffle(members)
            kept.append(members[:count])
        return np.concatenate(kept)


class Exponential(Ratio):
    """Class k keeps int(m rho^(-k / (K - 1))) images, where m is the largest possible number: a long tail with class 0 as its head.

    rho: size ratio of the largest to the smallest class, at least 1
    images: one of random, published: 'random', each trial draws other images; 'published', the images of the code of Cao et al. if
        the source has its order and no image is held out: each class in file order, shuffled by NumPy's legacy generator with seed 0
    after_noise: the given labels have this tail, after label noise; if false, the true labels have it, and noise acts on them
    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019; Cao et al., NeurIPS 2019, whose
    CIFAR-10-LT at rho 100 has 5000, 2997, 1796, 1077, 645, 387, 232, 139, 83 and 50 images.
    """

    def __init__(self, rho: float = 100.0, images: str = "random", after_noise: bool = False) -> None:
        super().__init__(rho, images, after_noise)

    def __str__(self) -> str:
        return f"exponential imbalance of rho {self.rho:g}"

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return _largest(np.array([(1 / self.rho) ** (k / (num_classes - 1)) for k in range(num_classes)]), labels)


class Step(Ratio):
    """The last classes keep 1 / rho of the images of the first classes.

    rho: size ratio of a frequent to a rare class, at least 1
    rare: share of rare classes, in [0, 1], rounded to a number of classes
    images: one of random, published: as in `Exponential`
    after_noise: the given labels have these steps, after label noise; if false, the true labels have them, and noise acts on them
    Source: Buda et al., "A systematic study of the class imbalance problem", 2018; Cao et al., NeurIPS 2019.
    """

    def __init__(self, rho: float = 100.0, rare: float = 0.5, images: str = "random", after_noise: bool = False) -> None:
        super().__init__(rho, images, after_noise)
        self.rare = in_range("rare", rare, 0, 1)

    def __str__(self) -> str:
        return f"step imbalance of rho {self.rho:g}"

    def wanted(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        frequent = num_classes - round(self.rare * num_classes)
        return _largest(np.where(np.arange(num_classes) < frequent, 1.0, 1 / self.rho), labels)


def _largest(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return int(m shares), (classes,), with the largest whole m that the labels allow."""
    available = np.bincount(labels, minlength=len(shares))
    most = int((available / shares).min() + 1e-6)
    most = min(most, available.max())  # if every class has the same size, m is that size
    return (most * shares).astype(int)


class ClassImbalance(Corruption, Majority):
    """`Majority` as a choice of noise, with right labels, under the name of the paper's experiments."""

    synthetic = False

    def select(self, labels: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
        return Majority.select(self, labels, num_classes, rng)
