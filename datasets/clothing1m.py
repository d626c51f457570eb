"""Clothing1M: pictures of clothes from shops, with labels from the texts around them (Xiao et al., CVPR 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError, choice

CLASSES = 14
COUNTS = {"noisy_train": 1_000_000, "clean_train": 47_570, "clean_val": 14_313, "clean_test": 10_526}  # pictures in each key list


def load(
    path: str,
    root: str = ".",
    clean: str = "val",
    size: int | None = 224,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load the pictures of noisy_train_key_list.txt with noisy labels, and those of clean_test_key_list.txt as the test set.

    path: directory of the copy; root: the directory to which it is relative
    clean: one of val, train, none: the key list of the clean set, clean_val (14,313 pictures) or clean_train (47,570); none: no clean set
    size: side in pixels to which every picture is resized, at least 1
    cache: directory of the decoded pixels
    partial: whether the copy may have fewer pictures; missing ones are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    True labels are known only for the clean set. Labels are those of noisy_label_kv.txt and clean_label_kv.txt.
    Raises UserError for a missing list or picture, a key without a label, and a label out of range.
    """
    chosen = choice("dataset.clean", clean, ("val", "train", "none"))
    copy = Copy("Clothing1M", Path(root) / path, size, cache, partial, resident)
    classes = copy.names("category_names_eng.txt", CLASSES)
    noisy, right = (dict(copy.labelled(f"{kind}_label_kv.txt", CLASSES)) for kind in ("noisy", "clean"))
    train = copy.pictures(".", _keys(copy, "noisy_train", noisy), known=False)
    trusted = [] if chosen == "none" else copy.pictures(".", _keys(copy, f"clean_{chosen}", right), known=True)
    return copy.source(train + trusted, copy.pictures(".", _keys(copy, "clean_test", right), known=True), classes)


def _keys(copy: Copy, part: str, labels: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return each key of a key list with its label."""
    keys = copy.lines(f"{part}_key_list.txt", COUNTS[part])
    without = next((key for key in keys if key not in labels), None)
    if without is not None:
        kind = part.partition("_")[0]
        raise UserError(f"{copy.directory / f'{part}_key_list.txt'} has the picture {without}, and {kind}_label_kv.txt has no label for it")
    return [(key, labels[key]) for key in keys]
