"""Given labels from a file; the data set provides the true labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from datasets import torch_file
from datasets.noise import Corruption, Seen, class_number
from datasets.source import Source
from robust_benchmark.errors import UserError
from robust_benchmark.files import regular


class FileNoise(Corruption):
    """The given labels come from a file, such as labels by annotators; the data set's own labels are the true labels.

    Its rate is the counted share of wrong labels in the training set.

    path: path of a .npy, .pt or .pth file (whole numbers or names, one dimension), or of a .csv or .txt file with one label per line and no
        header. The file has one label for each training image of the source, in its order, by the class's name or number. The path is
        part of a record's key, and the content is not; the record's digest of the drawn labels detects a changed file
    """

    rate = None

    def __init__(self, path: str) -> None:
        self.path = path

    def relabel(self, seen: Seen, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return given labels, (n,). Raises UserError for a file that cannot be read, has another length, or contains an unknown class."""
        return _labels(self.path, seen.source)[seen.positions]

    def transition_matrix(self, targets: np.ndarray) -> None:
        return None


def _labels(path: str, source: Source) -> np.ndarray:
    """Return a label for each training image of `source`, int64 (n,)."""
    given, n = _read(path), len(source.train_labels)
    if len(given) != n:
        raise UserError(f"{path} holds {len(given)} labels, and the data set has {n} training images")
    numbers: dict[object, int] = {}
    for each in dict.fromkeys(given):
        try:
            numbers[each] = class_number(each, source.classes)
        except UserError as error:
            raise UserError(f"{path}, entry {given.index(each) + 1} of {n}: {error}") from None
    return np.array([numbers[each] for each in given], dtype=np.int64)


def _read(path: str) -> list[str | int]:
    if Path(path).suffix not in (".npy", ".csv", ".txt", *torch_file.SUFFIXES):
        raise UserError(f"labels are read from a .npy, .pt, .pth, .csv or .txt file, and {path} is none")
    regular(Path(path), " with labels")
    try:
        if path.endswith(".npy"):
            return _listed(np.load(path, allow_pickle=False))
        return _listed(torch_file.array(path)) if path.endswith(torch_file.SUFFIXES) else _lines(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} holds no labels ({str(error).splitlines()[0]})") from error


def _listed(array: np.ndarray) -> list[str | int]:
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise ValueError(f"an array of {array.ndim} dimensions and type {array.dtype}, not one of whole numbers or names")
    found: list[str | int] = array.tolist()
    return found


def _lines(path: str) -> list[str | int]:
    """Return the lines of a text file, of a .csv file without quotes; empty lines at its end do not count."""
    text = Path(path).read_text(encoding="utf-8-sig").rstrip()
    if not path.endswith(".csv"):
        return [line.strip() for line in text.splitlines()]
    rows = list(csv.reader(text.splitlines()))
    for number, row in enumerate(rows, 1):
        if len(row) != 1:
            raise ValueError(f"line {number} has {len(row)} columns, not 1")
    return [row[0].strip() for row in rows]
