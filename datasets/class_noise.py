"""Label noise that depends only on the class: to any class, to similar classes, to the next class, or by any transition matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets import torch_file
from datasets.noise import Corruption, Seen, class_number
from datasets.source import Source
from datasets.superclasses import next_in_superclass
from robust_benchmark.errors import UserError, choice, in_range, whole
from robust_benchmark.files import regular

Pairs = Sequence[Sequence[str | int]]
DIGITS: Pairs = [[7, 1], [2, 7], [5, 6], [6, 5], [3, 8]]
OBJECTS: Pairs = [["truck", "automobile"], ["bird", "airplane"], ["cat", "dog"], ["dog", "cat"], ["deer", "horse"]]


class Symmetric(Corruption):
    """Selected labels are drawn again from all K classes, the true one included: T = (1 - rate) I + rate / K.

    In expectation, the share rate (K - 1) / K of the labels is wrong: 36 % at a rate of 0.4 and ten classes. `UniformFlip` excludes the
    true class. Papers call both "symmetric", and their rates differ by this factor.

    rate: share of selected examples, in [0, 1]
    Source: Li et al., "DivideMix", ICLR 2020, and the codes that follow it; also Shu et al., "Meta-Weight-Net", NeurIPS 2019.
    """

    def __init__(self, rate: float = 0.4) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        return np.full((num_classes, num_classes), 1 / num_classes)


class PairFlip(Corruption):
    """A label flips to the next class, k to k + 1, and the last class flips to class 0: T = (1 - rate) I + rate P, P the cyclic shift.

    rate: share of wrong labels, in [0, 1]; below 0.5 the true class is still the most frequent label of its images
    Source: Han et al., "Co-teaching", NeurIPS 2018, with a rate of 0.45.
    """

    def __init__(self, rate: float = 0.45) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        return np.roll(np.eye(num_classes), 1, axis=1)


class BlockFlip(Corruption):
    """A label flips to the next class of its block, and the last class of a block flips to its first; blocks are consecutive class numbers.

    Many codes use blocks of five as "asymmetric noise" on CIFAR-100, and their papers describe flips within a superclass. The numbers of
    CIFAR-100's classes are alphabetical, so only 6 of these 100 flips stay within a superclass. `AsymmetricFlip` keeps all of them within.

    rate: share of wrong labels, in [0, 1]
    block: number of classes in a block, at least 2; it divides the number of classes
    Source: the released code of Patrini et al., CVPR 2017, copied by the codes of ELR, SOP, APL and JoCoR.
    """

    def __init__(self, rate: float = 0.4, block: int = 5) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.block = whole("noise block", block, 2)

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """Return the flips. Raises UserError if blocks do not divide the classes."""
        if num_classes % self.block:
            raise UserError(f"noise.block={self.block} must divide the number of classes, which is {num_classes}")
        return np.kron(np.eye(num_classes // self.block), np.roll(np.eye(self.block), 1, axis=1))


class AsymmetricFlip(Corruption):
    """Some classes flip to one similar class each, and the others do not: T = (1 - rate) I + rate M, M[i, j] = 1 for i -> j.

    Exactly round(rate n) examples are selected from all classes, and those of classes that flip become wrong. Therefore `rate` is the
    probability for a label of these classes, and the share of wrong labels is `rate` times their share: on CIFAR-10 half of it.

    rate: share of labels that flip in each class that flips, in [0, 1]
    pairs: [class, target class] for each class that flips, by name or number; None uses the published map for the classes of
        CIFAR-10 (truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse), the ten digits (7 -> 1, 2 -> 7, 5 <-> 6, 3 -> 8) or
        CIFAR-100 (each class to the next one of its superclass); on other data, each class flips to the next one, as in `PairFlip`
    Source: Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017.
    """

    rate: float

    def __init__(self, rate: float = 0.4, pairs: Pairs | None = None) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        if pairs is not None and not (
            isinstance(pairs, list) and pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
        ):
            raise UserError(f"noise pairs must be a list of pairs of classes, such as noise.pairs=[[cat,dog],[dog,cat]], not {pairs!r}")
        self.pairs = pairs

    def on(self, source: Source) -> Corruption:
        """Return the flips between this source's classes. Raises UserError for an unknown class."""
        pairs = _published_pairs(source.classes) if self.pairs is None else self.pairs
        if pairs is None:
            return PairFlip(self.rate)
        numbers: dict[int, int] = {}
        for old, new in ([class_number(each, source.classes) for each in pair] for pair in pairs):
            if numbers.setdefault(old, new) != new:
                raise UserError(f"noise pairs let class '{source.classes[old]}' flip to more than one class")
        return _Flips(self.rate, numbers)


class _Flips(Corruption):
    """Flips between classes, given by their numbers."""

    def __init__(self, rate: float, numbers: dict[int, int]) -> None:
        self.rate = rate
        self._numbers = numbers

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        return np.eye(num_classes)[[self._numbers.get(label, label) for label in range(num_classes)]]


def _published_pairs(classes: tuple[str, ...]) -> Pairs | None:
    if [name.partition(" ")[0] for name in classes] == list("0123456789"):  # torchvision's MNIST has '7 - seven'
        return DIGITS
    fine = next_in_superclass()
    if {old for old, _ in fine} == {*classes}:
        return fine
    return OBJECTS if {name for pair in OBJECTS for name in pair} <= {*classes} else None


class MatrixNoise(Corruption):
    """Labels by any transition matrix T: in exact counts, or drawn for each image.

    Exact counts: of the n_k images of class k, n_k T[k, j] get the label j. These counts are rounded by largest remainder (ties: the lower
    class), so each differs by less than 1 and they sum to the class size. Which images get which label is random.

    matrix: T, a nested list with a row for each true class, or the path of a .npy, .csv, .txt or .pt file with it. The path is part of a
        record's key, and the content is not; the record's digest of the drawn labels detects a changed file
    counts: one of exact, sampled: 'sampled' draws each label from the row of its true class, so the counts vary between trials
    """

    rate = None

    def __init__(self, matrix: Sequence[Sequence[float]] | str, counts: str = "exact") -> None:
        self._matrix = _read(matrix) if isinstance(matrix, str) else _array(matrix)
        self._is_exact = choice("noise counts", counts, ("exact", "sampled")) == "exact"

    def targets(self, num_classes: int, trial_seed: int, rng: np.random.Generator) -> np.ndarray:
        """Return T. Raises UserError if it has another number of classes."""
        if len(self._matrix) != num_classes:
            raise UserError(f"the noise matrix has {len(self._matrix)} rows, and the data set has {num_classes} classes")
        return self._matrix

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _dealt(seen.labels, targets, rng) if self._is_exact else _sampled(seen.labels, targets, rng)

    def transition_matrix(self, targets: np.ndarray) -> np.ndarray:
        return targets.copy()


def _dealt(labels: np.ndarray, T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = labels.copy()
    for label, row in enumerate(T):
        members = rng.permutation(np.flatnonzero(labels == label))
        noisy[members] = np.repeat(np.arange(len(row)), whole_counts(len(members) * row / row.sum()))
    return noisy


def _sampled(labels: np.ndarray, T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cumulative = T.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]  # ends at 1 exactly, so no draw exceeds it
    noisy: np.ndarray = (rng.random(len(labels))[:, None] >= cumulative[labels]).sum(axis=1)
    return noisy


def whole_counts(expected: np.ndarray) -> np.ndarray:
    """Round `expected` to whole numbers, (k,), with the same sum, each differing by less than 1: largest remainders are rounded up."""
    counts: np.ndarray = np.floor(expected).astype(int)
    largest = np.argsort(counts - expected, kind="stable")[: round(expected.sum()) - counts.sum()]
    counts[largest] += 1
    return counts


def _read(path: str) -> np.ndarray:
    regular(Path(path), " with a noise matrix")
    try:
        if path.endswith(".npy"):
            return _array(np.load(path, allow_pickle=False))
        if path.endswith(torch_file.SUFFIXES):
            return _array(torch_file.array(path))
        return _array(np.loadtxt(path, delimiter="," if path.endswith(".csv") else None, ndmin=2))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} holds no noise matrix ({str(error).splitlines()[0]})") from error


def _array(matrix: object) -> np.ndarray:
    """Return T as float64 (classes, classes). Raises UserError unless it is row-stochastic."""
    try:
        array = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        form = " x ".join(map(str, array.shape)) if array.ndim == 2 else "no matrix of numbers"
        raise UserError(
            f"a noise matrix must be square, with a row for each true class, such as noise.matrix=[[0.9,0.1],[0.2,0.8]]; this one is {form}"
        )
    for label, row in enumerate(array):
        if not (row >= 0).all() or not np.isclose(row.sum(), 1, rtol=0, atol=1e-6):
            raise UserError(f"row {label} of the noise matrix must be at least 0 everywhere and sum to 1; it sums to {row.sum():g}")
    return array
