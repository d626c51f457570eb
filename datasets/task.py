"""A Task is what one trial learns from: a source, split, biased and corrupted by the trial's seed."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, field, replace

import numpy as np
import torch

from datasets.augment import Preprocessing
from datasets.noise import Corruption
from datasets.source import Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError, at_least


@dataclass
class Split:
    """Sizes of the sets that are held out of the training images.

    clean_per_class, clean_total: size of the clean set, a class or in all (`clean_total`, where given, decides)
    stratified: the clean set holds the classes in equal parts (as nearly as can be); else it is a uniform draw
    hyper_validation: size of the hyper-validation set, whose labels are corrupted as the training set's; class imbalance spares it
    clean_returns: methods that do not see the clean set train on its images as well, rightly labelled (the paper's MNIST
        protocol, where every method meets the same 5,000 images)
    """

    clean_per_class: int = 10
    clean_total: int | None = None
    stratified: bool = True
    hyper_validation: int = 0
    clean_returns: bool = False


@dataclass(frozen=True)
class Examples:
    """Images, uint8 (n, channels, height, width); the labels shown to learners and the true ones, int64 (n,)."""

    images: torch.Tensor
    labels: torch.Tensor
    true_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: slice | np.ndarray) -> Examples:
        """The examples at `index`."""
        return Examples(self.images[index], self.labels[index], self.true_labels[index])

    def to(self, device: torch.device) -> Examples:
        """The same examples on `device`."""
        return Examples(self.images.to(device), self.labels.to(device), self.true_labels.to(device))

    def fields(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, labels and true labels."""
        return self.images, self.labels, self.true_labels

    def wrong(self) -> int:
        """How many labels are really wrong."""
        return int((self.labels != self.true_labels).sum())


@dataclass(frozen=True)
class Task:
    """One trial's data. train and hyper_validation are corrupted; clean and test are right.

    transition_matrix: float64 (classes, classes), T[i, j] = p(noisy label j | true label i)
    digests: of the source, and of what was drawn from it
    train_positions: of the training set among the source's training images, int64 (n,)
    """

    train: Examples
    clean: Examples
    hyper_validation: Examples
    test: Examples
    classes: tuple[str, ...]
    noise_rate: float
    transition_matrix: torch.Tensor
    preprocessing: Preprocessing
    digests: dict[str, str] = field(default_factory=dict)
    train_positions: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def to(self, device: torch.device) -> Task:
        """The same task with its images and labels on `device`."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "clean", "hyper_validation", "test")}
        return replace(self, **parts)


@dataclass(frozen=True)
class Draw:
    """What a trial draws of a source's training images: positions, int64 (n,), and labels given to them.

    targets: Q of the label noise, float64 (classes, classes)
    """

    train: np.ndarray
    train_labels: np.ndarray
    clean: np.ndarray
    hyper_validation: np.ndarray
    hyper_validation_labels: np.ndarray
    targets: np.ndarray

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256, shortened, of all positions and labels."""
        sha = hashlib.sha256()
        for array in astuple(self):
            sha.update(repr(array.shape).encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()[:16]


def draw(source: Source, corruption: Corruption, split: Split, seed: int, sees_clean: bool = True) -> Draw:
    """What trial `seed` draws; all but `sees_clean` methods of a trial draw the same.

    sees_clean: whether the method may see the clean set; matters only where `split.clean_returns`
    Raises UserError where the source is too small for the split.
    """
    labels, num_classes = source.train_labels.numpy(), len(source.classes)
    pool, hyper = _hold_out_hyper_validation(len(labels), split, numpy_stream(seed, "split"))
    pool = pool[corruption.select(labels[pool], num_classes, numpy_stream(seed, "imbalance"))]
    clean = pool[_clean_positions(labels[pool], source.classes, split, numpy_stream(seed, "clean set"))]
    train = np.setdiff1d(pool, clean)
    if len(train) == 0:
        raise UserError(f"no training image is left beside {len(clean)} clean and {len(hyper)} hyper-validation images")
    targets = corruption.targets(num_classes, seed, numpy_stream(seed, "noise targets"))
    given = corruption.corrupt(labels[train], targets, numpy_stream(seed, "training labels"))
    given_hyper = corruption.corrupt(labels[hyper], targets, numpy_stream(seed, "hyper-validation labels"))
    if split.clean_returns and not sees_clean:
        train, given = np.concatenate([train, clean]), np.concatenate([given, labels[clean]])
    return Draw(train, given, clean, hyper, given_hyper, targets)


def make_task(
    source: Source, corruption: Corruption, split: Split, preprocessing: Preprocessing, seed: int, sees_clean: bool = True
) -> Task:
    """The task of trial `seed`, as `draw` draws it. Raises UserError where the source is too small for the split."""
    drawn = draw(source, corruption, split, seed, sees_clean)

    def examples(index: np.ndarray, labels: np.ndarray) -> Examples:
        return Examples(source.train_images[index], torch.from_numpy(labels), source.train_labels[index])

    return Task(
        train=examples(drawn.train, drawn.train_labels),
        clean=examples(drawn.clean, source.train_labels.numpy()[drawn.clean]),
        hyper_validation=examples(drawn.hyper_validation, drawn.hyper_validation_labels),
        test=Examples(source.test_images, source.test_labels, source.test_labels),
        classes=source.classes,
        noise_rate=corruption.rate,
        transition_matrix=torch.from_numpy(corruption.transition_matrix(drawn.targets)),
        preprocessing=preprocessing,
        train_positions=torch.from_numpy(drawn.train),
        digests={"source": source.digest, "drawn": drawn.digest},
    )


def _hold_out_hyper_validation(n: int, split: Split, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    at_least("hyper_validation", split.hyper_validation, 0)
    if split.hyper_validation >= n:
        raise UserError(f"hyper_validation {split.hyper_validation} leaves nothing of {n} training images")
    order = rng.permutation(n)
    cut = n - split.hyper_validation
    return order[:cut], order[cut:]


def _clean_positions(labels: np.ndarray, classes: tuple[str, ...], split: Split, rng: np.random.Generator) -> np.ndarray:
    """Positions of the clean set among `labels`, (clean,)."""
    size = split.clean_per_class * len(classes) if split.clean_total is None else split.clean_total
    at_least("clean set size", size, 0)
    if size > len(labels):
        raise UserError(f"a clean set of {size} images is larger than the {len(labels)} training images")
    if not split.stratified:
        return rng.permutation(len(labels))[:size]
    quota = np.full(len(classes), size // len(classes))
    quota[rng.permutation(len(classes))[: size % len(classes)]] += 1
    positions = []
    for label, wanted in enumerate(quota):
        members = np.flatnonzero(labels == label)
        if wanted > len(members):
            raise UserError(
                f"a clean set of {wanted} images of class '{classes[label]}' is larger than the class, which has {len(members)}"
            )
        positions.append(rng.permutation(members)[:wanted])
    return np.concatenate(positions)
