"""A Task is what one trial learns from: a source, split, biased and corrupted by the trial's seed."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, field, replace

import numpy as np
import torch

from datasets.augment import Preprocessing
from datasets.imbalance import Imbalance
from datasets.mapped import Images, Mapped, taken
from datasets.noise import Corruption, Seen, UniformFlip
from datasets.source import UNKNOWN, Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError, at_least, in_range


@dataclass
class Split:
    """Sizes of the sets that are held out of the training images.

    clean_per_class, clean_total: size of the clean set, a class or in all (`clean_total`, where given, decides). Where the source knows
        some true labels and not others, the known ones are the clean set, or `clean_total` of them
    stratified: the clean set holds the classes in equal parts (as nearly as can be); else it is a uniform draw
    clean_noise_rate: this share of the clean set's labels is wrong, each another class, uniformly
    hyper_validation: size of the hyper-validation set, whose labels are corrupted as the training set's; class imbalance spares it
    clean_returns: methods that do not see the clean set train on its images as well, rightly labelled (the paper's MNIST
        protocol, where every method meets the same 5,000 images)
    """

    clean_per_class: int = 10
    clean_total: int | None = None
    stratified: bool = True
    clean_noise_rate: float = 0.0
    hyper_validation: int = 0
    clean_returns: bool = False


@dataclass(frozen=True)
class Examples:
    """Images, uint8 (n, channels, height, width), or features, float32 (n, width); the labels shown to learners and the true ones, int64
    (n,), which are UNKNOWN (see Source) in all examples or in none. Images may lie in a mapped file: `images[index]` reads some."""

    images: Images
    labels: torch.Tensor
    true_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: slice | np.ndarray) -> Examples:
        """The examples at `index`."""
        return Examples(taken(self.images, index), self.labels[index], self.true_labels[index])

    def to(self, device: torch.device) -> Examples:
        """The same examples on `device`; a mapped file stays where it is, and its images come to `device` as they are read."""
        return Examples(self.images.to(device), self.labels.to(device), self.true_labels.to(device))

    def fields(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, labels and true labels, all in memory."""
        return self.images[:], self.labels, self.true_labels

    def join(self, more: Examples) -> Examples:
        """These examples with `more` behind them, whose images come to memory."""
        theirs = more.images[:].to(self.images.dtype)
        images = self.images.join(theirs) if isinstance(self.images, Mapped) else torch.cat([self.images, theirs])
        pairs = ((self.labels, more.labels), (self.true_labels, more.true_labels))
        return Examples(images, *(torch.cat([ours, theirs.to(ours.dtype)]) for ours, theirs in pairs))

    @property
    def truth_is_known(self) -> bool:
        """Whether the true labels are known. Waits for the device."""
        return bool((self.true_labels != UNKNOWN).all())

    def wrong(self) -> int | None:
        """How many labels are really wrong; None where nobody knows."""
        return int((self.labels != self.true_labels).sum()) if self.truth_is_known else None


@dataclass(frozen=True)
class Task:
    """One trial's data. train and hyper_validation are corrupted; test is right, and so is clean but for `split.clean_noise_rate`.

    noise_rate: the share of examples picked for relabelling, or, where the source brings wrong labels of its own, their share
    transition_matrix: float64 (classes, classes), T[i, j] = p(noisy label j | true label i)
    both are None where the true labels are not known
    digests: of the source, and of what was drawn from it
    train_positions: of the training set among the source's training images, int64 (n,)
    """

    train: Examples
    clean: Examples
    hyper_validation: Examples
    test: Examples
    classes: tuple[str, ...]
    noise_rate: float | None
    transition_matrix: torch.Tensor | None
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
    clean_labels: of the clean set, where some are made wrong
    """

    train: np.ndarray
    train_labels: np.ndarray
    clean: np.ndarray
    hyper_validation: np.ndarray
    hyper_validation_labels: np.ndarray
    targets: np.ndarray
    clean_labels: np.ndarray | None = None

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256, shortened, of all positions and labels."""
        sha = hashlib.sha256()
        for array in astuple(self):
            if array is not None:
                sha.update(repr(array.shape).encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()[:16]


def draw(
    source: Source, corruption: Corruption, split: Split, seed: int, sees_clean: bool = True, imbalance: Imbalance | None = None
) -> Draw:
    """What trial `seed` draws; all but `sees_clean` methods of a trial draw the same.

    imbalance: selects training images before `corruption` does anything
    sees_clean: whether the method may see the clean set; matters only where `split.clean_returns`
    Raises UserError where the source is too small for the split, or does not know the true labels that the noise needs.
    """
    _check_truth(source, corruption)
    given, true = source.train_labels.numpy(), source.true_labels.numpy()
    num_classes, vouched = len(source.classes), _vouched(true)
    rest = np.setdiff1d(np.arange(len(true)), vouched)
    pool, hyper = _hold_out_hyper_validation(rest, split, numpy_stream(seed, "split"))
    if imbalance is not None:
        pool = pool[imbalance.select(_best_known(source)[pool], num_classes, numpy_stream(seed, "class imbalance"))]
    pool = pool[corruption.select(_best_known(source)[pool], num_classes, numpy_stream(seed, "imbalance"))]
    trusted = vouched if len(vouched) else pool
    clean = trusted[_clean_positions(true[trusted], source.classes, split, numpy_stream(seed, "clean set"), all_of_them=len(vouched) > 0)]
    train = np.setdiff1d(pool, clean)
    if len(train) == 0:
        raise UserError(f"no training image is left beside {len(clean)} clean and {len(hyper)} hyper-validation images")
    targets = corruption.targets(num_classes, seed, numpy_stream(seed, "noise targets"))

    def relabelled(index: np.ndarray, stream: str) -> np.ndarray:
        if not corruption.synthetic:
            return given[index]
        return corruption.relabel(Seen(true[index], taken(source.train_images, index), index), targets, numpy_stream(seed, stream))

    train_labels, hyper_labels = relabelled(train, "training labels"), relabelled(hyper, "hyper-validation labels")
    clean_labels = _made_wrong(true[clean], split.clean_noise_rate, num_classes, numpy_stream(seed, "clean labels"))
    if split.clean_returns and not sees_clean:
        returning = true[clean] if clean_labels is None else clean_labels
        train, train_labels = np.concatenate([train, clean]), np.concatenate([train_labels, returning])
    return Draw(train, train_labels, clean, hyper, hyper_labels, targets, clean_labels)


def make_task(
    source: Source,
    corruption: Corruption,
    split: Split,
    preprocessing: Preprocessing,
    seed: int,
    sees_clean: bool = True,
    imbalance: Imbalance | None = None,
) -> Task:
    """The task of trial `seed`, as `draw` draws it, with its errors."""
    drawn = draw(source, corruption, split, seed, sees_clean, imbalance)

    def examples(index: np.ndarray, labels: np.ndarray) -> Examples:
        return Examples(taken(source.train_images, index), torch.from_numpy(labels), source.true_labels[index])

    train = examples(drawn.train, drawn.train_labels)
    clean_labels = source.true_labels.numpy()[drawn.clean] if drawn.clean_labels is None else drawn.clean_labels
    rate, transition_matrix = _noise_of(corruption, drawn, train, len(source.classes))
    return Task(
        train=train,
        clean=examples(drawn.clean, clean_labels),
        hyper_validation=examples(drawn.hyper_validation, drawn.hyper_validation_labels),
        test=Examples(source.test_images, source.test_labels, source.test_labels),
        classes=source.classes,
        noise_rate=rate,
        transition_matrix=transition_matrix,
        preprocessing=preprocessing,
        train_positions=torch.from_numpy(drawn.train),
        digests={"source": source.digest, "drawn": drawn.digest},
    )


def _check_truth(source: Source, corruption: Corruption) -> None:
    if corruption.synthetic and source.train_true_labels is not None:
        kind = type(corruption).__name__
        raise UserError(f"{kind} makes wrong labels from true ones, and this data set brings given labels of its own: choose noise=none")


def _vouched(true: np.ndarray) -> np.ndarray:
    """Positions of the known true labels where others are unknown; none where all are known."""
    known = true != UNKNOWN
    return np.flatnonzero(known) if not known.all() else np.empty(0, dtype=np.int64)


def _best_known(source: Source) -> np.ndarray:
    """True labels where all are known, else the given ones: what classes are counted by."""
    true = source.true_labels.numpy()
    return true if (true != UNKNOWN).all() else source.train_labels.numpy()


def _noise_of(corruption: Corruption, drawn: Draw, train: Examples, num_classes: int) -> tuple[float | None, torch.Tensor | None]:
    """Rate and transition matrix: those that the corruption states, or else those counted on the training set."""
    if not train.truth_is_known:
        return None, None
    brought = not corruption.synthetic and bool(train.wrong())
    stated = None if brought else corruption.transition_matrix(drawn.targets)
    if stated is not None:
        return corruption.rate, torch.from_numpy(stated)
    counts = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    counts.index_put_((train.true_labels, train.labels), torch.ones(len(train), dtype=torch.float64), accumulate=True)
    empty = counts.sum(dim=1) == 0
    counts[empty, empty] = 1  # a class without images stays right
    return (train.wrong() or 0) / len(train), counts / counts.sum(dim=1, keepdim=True)


def _made_wrong(labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray | None:
    """Labels of which the share `rate`, rounded, is another class; None where none is wrong."""
    in_range("split.clean_noise_rate", rate, 0, 1)
    return UniformFlip(rate).corrupt(labels, UniformFlip(rate).targets(num_classes, 0, rng), rng) if rate else None


def _hold_out_hyper_validation(positions: np.ndarray, split: Split, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = len(positions)
    at_least("hyper_validation", split.hyper_validation, 0)
    if split.hyper_validation >= n:
        raise UserError(f"hyper_validation {split.hyper_validation} leaves nothing of {n} training images")
    order = positions[rng.permutation(n)]
    cut = n - split.hyper_validation
    return order[:cut], order[cut:]


def _clean_positions(
    labels: np.ndarray, classes: tuple[str, ...], split: Split, rng: np.random.Generator, all_of_them: bool = False
) -> np.ndarray:
    """Positions of the clean set among `labels`, (clean,). all_of_them: unless `split.clean_total` asks for fewer"""
    if all_of_them and split.clean_total is None:
        return np.arange(len(labels))
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
