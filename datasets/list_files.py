"""Pictures that text files list with their labels: ImageNet-LT, Places-LT, iNaturalist 2018, and your own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import places365
from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError, whole


def load(
    path: str,
    root: str = ".",
    train: str = "train.txt",
    test: str = "test.txt",
    clean: str | None = None,
    classes: int | None = None,
    train_count: int | None = None,
    test_count: int | None = None,
    train_md5: Sequence[str] = (),
    test_md5: Sequence[str] = (),
    true_labels: bool = True,
    either_dialect: bool = False,
    size: int | None = None,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load pictures by lists with lines `PATH LABEL`, in which paths are relative to `root`/`path` and labels are 0, 1, 2, ...

    path: directory of the pictures and the lists; root: the directory to which it is relative
    train: list of the training set; test: list of the test set
    clean: list of pictures whose labels you trust, the clean set; None: no such list
    classes: the number of classes, at least 2; None takes it from the training list
    train_count: number of pictures that the training list must have, at least 1; None: any
    test_count: number of pictures that the test list must have, at least 1; None: any
    train_md5: MD5 checksums of the published versions of the training list, of which it is one; an empty list accepts any
    test_md5: the same for the test list
    true_labels: the labels of the training list are true; if false, or with a list `clean`, they are only given
    either_dialect: the lists have paths of Places365, and the pictures may be at those of its other dialect (datasets/places365.py)
    size: side in pixels to which every picture is resized, at least 1; None keeps the pictures, which must have one size
    cache: directory of the decoded pixels
    partial: whether pictures may be missing and lists may be others than published; missing pictures are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    Classes are named by their numbers.
    Raises UserError for a missing list or picture, a list with another length or checksum, a picture in two lists, a label out of range,
    and a class without a picture.
    """
    if not isinstance(true_labels, bool):
        raise UserError(f"dataset.true_labels must be true or false, not {true_labels!r}")
    if classes is not None:
        whole("dataset.classes", classes, 2)
    copy = Copy(Path(path).name, Path(root) / path, size, cache, partial, resident)
    listed = copy.labelled(train, classes, train_count, train_md5)
    count = _count(copy.directory / train, [label for _, label in listed]) if classes is None else classes
    trusted = [] if clean is None else copy.pictures(".", copy.labelled(clean, count), known=True)
    tests = copy.labelled(test, count, test_count, test_md5)
    if either_dialect:
        listed, tests = places365.resolved(copy.directory, listed, tests)
    tested = copy.pictures(".", tests, known=True)
    pictures = copy.pictures(".", listed, known=true_labels and clean is None)
    return copy.source(pictures + trusted, tested, tuple(map(str, range(count))))


def _count(file: Path, labels: Sequence[int]) -> int:
    """Return the number of classes. Raises UserError unless the labels are 0, 1, 2, ... without a gap, and there are at least two."""
    there = set(labels)
    gap = next(label for label in range(len(there) + 1) if label not in there)
    if gap < len(there) or len(there) < 2:
        raise UserError(f"{file} has no picture with label {gap}: labels must be 0, 1, 2, ... without a gap (largest: {max(there)})")
    return len(there)
