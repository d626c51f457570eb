"""A Task is the data of one trial: a source that is split, made imbalanced and corrupted with the trial's seed."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, field, replace

import numpy as np
import torch

from datasets.augment import Preprocessing
from datasets.checks import check_matrix, check_whole_numbers
from datasets.imbalance import Imbalance
from datasets.mapped import Images, Mapped, taken
from datasets.noise import Corruption, Replacement, UniformFlip
from datasets.source import UNKNOWN, Source
from datasets.streams import numpy_stream
from datasets.trial_noise import TrialNoise
from robust_benchmark.errors import UserError, in_range, whole


@dataclass
class Split:
    """Sizes of the sets that are held out from the training images.

    clean_per_class: images of each class in the clean set, at least 0
    clean_total: total number of images in the clean set, at least 0; it overrides clean_per_class. If the source does
        not know all true labels, the known ones are the clean set, or `clean_total` of them, and no other set contains any of them
    stratified: the clean set has equal numbers of each class (as nearly as possible); if false, it is a uniform draw
    clean_noise_rate: share of wrong labels in the clean set, in [0, 1]; each becomes another class, uniformly
    hyper_validation: size of the hyper-validation set, at least 0; label noise affects it like the training set, class imbalance does not
    clean_returns: methods that do not see the clean set also train on its images, with its labels (the paper's MNIST
        protocol, in which every method sees the same 5,000 images)
    clean_first: the clean set is taken out before class imbalance, which then acts on the rest; if false, it is a part of the images that
        imbalance selects
    """

    clean_per_class: int = 10
    clean_total: int | None = None
    stratified: bool = True
    clean_noise_rate: float = 0.0
    hyper_validation: int = 0
    clean_returns: bool = False
    clean_first: bool = False


@dataclass(frozen=True)
class Examples:
    """Images, uint8 (n, channels, height, width), or features, float32 (n, width), with given and true labels.

    Labels are int64 (n,). True labels count as known only if none is UNKNOWN (see Source). The true label of an image of another data
    set is the number of classes: no given label is right. Images may be in a mapped file: `images[index]` reads some of them.
    """

    images: Images
    labels: torch.Tensor
    true_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: slice | np.ndarray) -> Examples:
        """Return the examples at `index`."""
        return Examples(taken(self.images, index), self.labels[index], self.true_labels[index])

    def to(self, device: torch.device) -> Examples:
        """Return the same examples on `device`; a mapped file does not move, and its images go to `device` when they are read."""
        return Examples(self.images.to(device), self.labels.to(device), self.true_labels.to(device))

    def fields(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images, labels and true labels, all in memory."""
        return self.images[:], self.labels, self.true_labels

    def join(self, more: Examples) -> Examples:
        """Return these examples followed by `more`, of the same types, whose images are loaded into memory."""
        ours, theirs = self.images, more.images[:]
        images = ours.join(theirs) if isinstance(ours, Mapped) else torch.cat([ours, theirs])
        return Examples(images, torch.cat([self.labels, more.labels]), torch.cat([self.true_labels, more.true_labels]))

    @property
    def truth_is_known(self) -> bool:
        """Whether the true labels are known. Waits for the device."""
        return bool((self.true_labels != UNKNOWN).all())

    def wrong(self) -> int | None:
        """Return the number of labels that are actually wrong; None if unknown."""
        return int((self.labels != self.true_labels).sum()) if self.truth_is_known else None


@dataclass(frozen=True)
class Task:
    """One trial's data. train and hyper_validation are corrupted; test is right, and clean is too except for `split.clean_noise_rate`.

    noise_rate: the share of examples selected for relabelling, or, without such an option, of wrong labels in the training set
    transition_matrix: float64 (classes, classes), T[i, j] = p(noisy label j | true label i)
    both are None if the true labels are unknown; a task with images of another data set has no transition matrix
    digests: digests of the source and of the draw from it
    train_positions: positions of the training set among the source's training images, int64 (n,)
    encoding: the conversion of a table's columns to features, as text of datasets.encoding.Encoding
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
    encoding: str | None = None

    @property
    def replaced(self) -> torch.Tensor:
        """Which training images are of another data set, and so of none of the classes, bool (n,)."""
        return self.train.true_labels == len(self.classes)

    def to(self, device: torch.device) -> Task:
        """Return the same task with its images and labels on `device`."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "clean", "hyper_validation", "test")}
        return replace(self, **parts)


@dataclass(frozen=True)
class Draw:
    """A trial's draw from a source's training images: positions, int64 (n,), and their given labels.

    targets: matrix Q of the label noise, float64 (classes, classes)
    clean_labels: labels of the clean set, if some are made wrong
    replacement: images of another data set that replace some of the training and the hyper-validation images
    """

    train: np.ndarray
    train_labels: np.ndarray
    clean: np.ndarray
    hyper_validation: np.ndarray
    hyper_validation_labels: np.ndarray
    targets: np.ndarray
    clean_labels: np.ndarray | None = None
    replacement: Replacement | None = None

    @property
    def digest(self) -> str:
        """Return the shortened hexadecimal SHA-256 of all positions and labels, and of images of another data set."""
        sha = hashlib.sha256()
        *arrays, replacement = astuple(self)
        for array in (*arrays, *(replacement or ())):
            if array is not None:
                sha.update(repr(array.shape).encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()[:16]


def draw(
    source: Source, corruption: Corruption, split: Split, seed: int, sees_clean: bool = True, imbalance: Imbalance | None = None
) -> Draw:
    """Return the draw of trial `seed`; all methods of a trial draw the same, except for those with `sees_clean`.

    imbalance: selects training images before `corruption` acts
    sees_clean: whether the method may see the clean set; matters only with `split.clean_returns`
    Raises UserError if the source is too small for the split, or lacks true labels that the noise needs.
    """
    _check_truth(source, corruption)
    corruption, imbalance = corruption.on(source), imbalance or Imbalance()
    noise = TrialNoise(source, corruption, seed)
    true, num_classes = source.true_labels.numpy(), len(source.classes)
    pool, hyper = _hold_out_hyper_validation(_unvouched(source), split, numpy_stream(seed, "split"))
    pool = np.sort(pool) if imbalance.in_file_order else pool
    clean = _clean_set(source, split, seed, pool) if split.clean_first else None
    pool = pool if clean is None else pool[~np.isin(pool, clean)]
    before = noise.on(pool) if imbalance.after_noise else None  # labels of all images of the source, of which the pool's are used
    pool = _selected(source, corruption, imbalance, seed, pool, before)
    clean = _clean_set(source, split, seed, pool) if clean is None else clean
    train = np.setdiff1d(pool, clean)
    _check_training_set(true, train, clean, hyper, source.classes)
    train_labels = (noise.on(train) if before is None else before)[train]
    hyper_labels = noise.relabelled(hyper, "hyper-validation labels")
    replacement = corruption.replacement((len(train), len(hyper)), source, seed)
    clean_labels = _made_wrong(true[clean], split.clean_noise_rate, num_classes, numpy_stream(seed, "clean labels"))
    if split.clean_returns and not sees_clean:
        returning = true[clean] if clean_labels is None else clean_labels
        train, train_labels = np.concatenate([train, clean]), np.concatenate([train_labels, returning])
    return Draw(train, train_labels, clean, hyper, hyper_labels, noise.targets, clean_labels, replacement)


def _selected(
    source: Source, corruption: Corruption, imbalance: Imbalance, seed: int, pool: np.ndarray, given: np.ndarray | None
) -> np.ndarray:
    """Return positions of the images of `pool` that the imbalance and the corruption select.

    given: labels that `imbalance` counts, of all images of the source; None: the true labels, or the given ones if some are unknown
    """
    best_known = source.true_labels.numpy() if _vouched(source) is None else source.train_labels.numpy()
    counted = best_known if given is None else given
    for chosen, labels, stream in ((imbalance, counted, "class imbalance"), (corruption, best_known, "imbalance")):
        kept = chosen.select(labels[pool], len(source.classes), numpy_stream(seed, stream))
        check_whole_numbers(chosen, "select", kept, None, len(pool))
        pool = pool[kept]
    return pool


def _clean_set(source: Source, split: Split, seed: int, pool: np.ndarray) -> np.ndarray:
    """Return positions of the clean set: of images of `pool`, or of those with known true labels if some are unknown."""
    vouched = _vouched(source)
    if vouched is not None and split.clean_total is None:
        return vouched
    trusted = pool if vouched is None else vouched
    labels = source.true_labels.numpy()[trusted]
    return trusted[_clean_positions(labels, source.classes, split, numpy_stream(seed, "clean set"))]


def make_task(
    source: Source,
    corruption: Corruption,
    split: Split,
    preprocessing: Preprocessing,
    seed: int,
    sees_clean: bool = True,
    imbalance: Imbalance | None = None,
) -> Task:
    """Return the task of trial `seed` from its `draw`, with the same errors."""
    preprocessing.check(source.train_images)
    drawn = draw(source, corruption, split, seed, sees_clean, imbalance)

    def examples(index: np.ndarray, labels: np.ndarray) -> Examples:
        return Examples(taken(source.train_images, index), torch.from_numpy(labels), source.true_labels[index])

    train, hyper_validation = examples(drawn.train, drawn.train_labels), examples(drawn.hyper_validation, drawn.hyper_validation_labels)
    if drawn.replacement:
        places, hyper_places, images = drawn.replacement
        train = _with_others(train, places, images[: len(places)], len(source.classes))
        hyper_validation = _with_others(hyper_validation, hyper_places, images[len(places) :], len(source.classes))
    clean_labels = source.true_labels.numpy()[drawn.clean] if drawn.clean_labels is None else drawn.clean_labels
    selected = imbalance is not None and imbalance.after_noise
    rate, transition_matrix = _noise_of(corruption.on(source), drawn, train, len(source.classes), selected)
    return Task(
        train=train,
        clean=examples(drawn.clean, clean_labels),
        hyper_validation=hyper_validation,
        test=Examples(source.test_images, source.test_labels, source.test_labels),
        classes=source.classes,
        noise_rate=rate,
        transition_matrix=transition_matrix,
        preprocessing=preprocessing,
        train_positions=torch.from_numpy(drawn.train),
        digests={"source": source.digest, "drawn": drawn.digest},
        encoding=source.encoding,
    )


def _with_others(examples: Examples, places: np.ndarray, images: np.ndarray, num_classes: int) -> Examples:
    """Return the examples with `images` of none of the classes at `places`; their given labels stay."""
    order = np.arange(len(examples))
    order[places] = len(examples) + np.arange(len(places))
    others = Examples(torch.from_numpy(images), examples.labels[places], torch.full((len(places),), num_classes))
    return examples.join(others).take(order)


def _check_truth(source: Source, corruption: Corruption) -> None:
    if corruption.synthetic and source.train_true_labels is not None:
        kind = type(corruption).__name__
        raise UserError(f"{kind} makes wrong labels from true ones, and this data set brings given labels of its own: choose noise=none")


def _vouched(source: Source) -> np.ndarray | None:
    """Return positions of the known true labels if some are unknown; None if all are known."""
    known = source.true_labels.numpy() != UNKNOWN
    return None if known.all() else np.flatnonzero(known)


def _unvouched(source: Source) -> np.ndarray:
    """Return positions of the unknown true labels; all positions if all are known."""
    everything, vouched = np.arange(len(source.true_labels)), _vouched(source)
    return everything if vouched is None else np.setdiff1d(everything, vouched)


def _check_training_set(true: np.ndarray, train: np.ndarray, clean: np.ndarray, hyper: np.ndarray, classes: tuple[str, ...]) -> None:
    if len(train) == 0:
        raise UserError(f"no training image is left beside {len(clean)} clean and {len(hyper)} hyper-validation images")
    for label in np.setdiff1d(true[clean], true[train]) if (true[train] != UNKNOWN).all() else []:
        taken = (true[clean] == label).sum()
        raise UserError(f"the clean set takes all {taken} images of class '{classes[label]}': give fewer by split.clean_per_class")


def _noise_of(
    corruption: Corruption, drawn: Draw, train: Examples, num_classes: int, selected: bool
) -> tuple[float | None, torch.Tensor | None]:
    """Return rate and transition matrix: those of the corruption, or those counted on the training set; no matrix for other images.

    selected: given labels decided which images are left, so the corruption's own ones do not apply
    """
    if not train.truth_is_known:
        return None, None
    share = (train.wrong() or 0) / len(train)
    if drawn.replacement:
        return share, None
    brought = not corruption.synthetic and share > 0
    stated = None if brought or selected else corruption.transition_matrix(drawn.targets)
    if stated is not None:
        check_matrix(corruption, "transition_matrix", stated, num_classes)
        return share if corruption.rate is None else corruption.rate, torch.from_numpy(stated)
    counts = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    counts.index_put_((train.true_labels, train.labels), torch.ones(len(train), dtype=torch.float64), accumulate=True)
    empty = counts.sum(dim=1) == 0
    counts[empty, empty] = 1  # a class without images stays right
    return share, counts / counts.sum(dim=1, keepdim=True)


def _made_wrong(labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray | None:
    """Change the rounded share `rate` of the labels to another class; return None if none changes."""
    in_range("split.clean_noise_rate", rate, 0, 1)
    return UniformFlip(rate).corrupt(labels, UniformFlip(rate).targets(num_classes, 0, rng), rng) if rate else None


def _hold_out_hyper_validation(positions: np.ndarray, split: Split, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = len(positions)
    whole("split.hyper_validation", split.hyper_validation, 0)
    if split.hyper_validation >= n:
        raise UserError(f"hyper_validation {split.hyper_validation} leaves nothing of {n} training images")
    order = positions[rng.permutation(n)]
    cut = n - split.hyper_validation
    return order[:cut], order[cut:]


def _clean_positions(labels: np.ndarray, classes: tuple[str, ...], split: Split, rng: np.random.Generator) -> np.ndarray:
    """Return positions of the clean set among images with these true `labels`, (clean,)."""
    if split.clean_total is None:
        size = whole("split.clean_per_class", split.clean_per_class, 0) * len(classes)
    else:
        size = whole("split.clean_total", split.clean_total, 0)
    if size > len(labels):
        raise UserError(f"a clean set of {size} images is larger than the {len(labels)} training images that it can be of")
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
