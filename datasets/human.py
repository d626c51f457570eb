"""Labels that people gave to CIFAR's training images: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.noise import Corruption, Seen
from robust_benchmark.errors import UserError, choice

COLUMNS = {  # kind: the authors' file and the name of its labels
    "aggre": ("CIFAR-10_human.pt", "aggre_label"),
    "rand1": ("CIFAR-10_human.pt", "random_label1"),
    "rand2": ("CIFAR-10_human.pt", "random_label2"),
    "rand3": ("CIFAR-10_human.pt", "random_label3"),
    "worse": ("CIFAR-10_human.pt", "worse_label"),
    "fine": ("CIFAR-100_human.pt", "noisy_label"),
}
RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # makes an array of pickled parts; NumPy has moved it, and files have either name
ALLOWED: list[Any] = [np.ndarray, np.dtype, np.dtypes.Int64DType]
ALLOWED += [(RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]


class HumanLabels(Corruption):
    """The labels that crowd workers gave: three a CIFAR-10 image, and one a CIFAR-100 image.

    kind: one of aggre, rand1, rand2, rand3, worse, fine. Of CIFAR-10, rand1, rand2 and rand3, one worker's label; aggre, the majority of
        the three; worse, a wrong one of the three where there is one. Of CIFAR-100, fine, the one label, of the hundred classes.
    root: the directory that holds the authors' files as cifar-n/CIFAR-10_human.pt and cifar-n/CIFAR-100_human.pt

    The authors' order is that of the "python version" of CIFAR, which torchvision reads by published checksums. Images that stand class
    by class, as image folders do, are taken to be in this order within each class. Either way the true labels must be those of the file.
    The files are read without executing anything in them.

    Source: Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022.
    """

    rate = None

    def __init__(self, kind: str = "worse", root: str = "data") -> None:
        name, self.column = COLUMNS[choice("noise.kind", kind, tuple(COLUMNS))]
        self.file = Path(root) / "cifar-n" / name

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clean, given = _read(self.file, ("clean_label", self.column))
        return given[self._rows(clean, seen.source.true_labels.numpy())[seen.positions]]

    def transition_matrix(self, targets: np.ndarray) -> None:
        """None: it is counted."""

    def _rows(self, clean: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The row of each of the source's training images, whose true `labels` are given, in the file, whose true labels are `clean`."""
        by_class = np.argsort(clean, kind="stable")
        for rows in (np.arange(len(clean)), by_class):
            if np.array_equal(clean[rows], labels):
                return rows
        raise UserError(
            f"{self.file} is of other images: its {len(clean):,} true labels are not those of this data set's {len(labels):,} training"
            " images, neither in CIFAR's order nor class by class; it needs dataset=cifar10 or cifar10_jpeg (cifar100 with noise.kind=fine)"
        )


def _read(file: Path, columns: tuple[str, str]) -> list[np.ndarray]:
    """Labels of the authors' file, int64 (n,) each."""
    if not file.is_file():
        raise UserError(f"no file {file}: put {file.name} of github.com/UCSC-REAL/cifar-10-100n (folder data) there")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            found = torch.load(file, weights_only=True)
        clean, given = (np.asarray(found[column], dtype=np.int64) for column in columns)
        if clean.ndim != 1 or given.shape != clean.shape or given.min() < 0 or given.max() > clean.max():
            raise ValueError("labels of wrong form")
    except Exception as error:  # torch, pickle and NumPy have many words for a file that is not what it should be
        raise UserError(f"{file} is not the authors' file, with labels '{columns[0]}' and '{columns[1]}': put it there again") from error
    return [clean, given]
