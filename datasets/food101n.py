"""Food-101N: pictures of food from the web, with some labels verified by people (Lee et al., CVPR 2018)."""

from __future__ import annotations

from pathlib import Path

from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError, choice

CLASSES = 101
LISTED, TESTED = 310_009, 25_250
VERIFIED = {"train": 52_868, "val": 4_741}
NOISY, TEST = "Food-101N_release", "food-101"  # folders, as the archives unpack


def load(
    path: str,
    root: str = ".",
    clean: str = "val",
    size: int | None = 224,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load the pictures of Food-101N_release/meta/imagelist.tsv, and the test set of Food-101, food-101/meta/test.txt.

    path: directory of the copy; root: the directory to which it is relative
    clean: one of val, train, none: the clean set is the pictures that verified_val.tsv or verified_train.tsv marks as right (1)
    size: side in pixels to which every picture is resized, at least 1
    cache: directory of the decoded pixels
    partial: whether the copy may have fewer pictures; missing ones are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    The given label is the folder of a picture. True labels are known only for the clean set: for a label that is marked as wrong (0),
    nobody gave the right one. A verified row whose picture imagelist.tsv has not, or has in another class, has no effect.
    Raises UserError for a missing list or picture, an unknown class, and a verification that is neither 0 nor 1.
    """
    chosen = choice("dataset.clean", clean, ("val", "train", "none"))
    copy = Copy("Food-101N", Path(root) / path, size, cache, partial, resident)
    classes = copy.names(f"{NOISY}/meta/classes.txt", CLASSES, header="class_name")
    listed = _by_folder(copy, f"{NOISY}/meta/imagelist.tsv", classes, LISTED)
    right = set() if chosen == "none" else _marked_as_right(copy, chosen)
    tested = _by_folder(copy, f"{TEST}/meta/test.txt", classes, TESTED)
    unverified, verified = ([(key, label) for key, label in listed.items() if (key in right) is known] for known in (False, True))
    train = copy.pictures(f"{NOISY}/images", unverified, known=False) + copy.pictures(f"{NOISY}/images", verified, known=True)
    test = copy.pictures(f"{TEST}/images", [(f"{key}.jpg", label) for key, label in tested.items()], known=True)
    return copy.source(train, test, classes)


def _by_folder(copy: Copy, file: str, classes: list[str], published: int) -> dict[str, int]:
    """Return each key `CLASS/PICTURE` of a list with its class."""
    labels = {name: label for label, name in enumerate(classes)}
    keys = copy.lines(file, published, header="class_name")
    unknown = next((key for key in keys if key.partition("/")[0] not in labels), None)
    if unknown is not None:
        raise UserError(f"{copy.directory / file}: the line '{unknown}' does not begin with a class of {NOISY}/meta/classes.txt and '/'")
    return {key: labels[key.partition("/")[0]] for key in keys}


def _marked_as_right(copy: Copy, part: str) -> set[str]:
    file = f"{NOISY}/meta/verified_{part}.tsv"
    rows = [line.rsplit(maxsplit=1) for line in copy.lines(file, VERIFIED[part], header="class_name")]
    wrong = next((row for row in rows if len(row) != 2 or row[1] not in ("0", "1")), None)
    if wrong is not None:
        raise UserError(f"{copy.directory / file}: the line '{' '.join(wrong)}' is not a picture and 0 or 1")
    return {key for key, mark in rows if mark == "1"}
