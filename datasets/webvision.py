"""mini-WebVision: the first 50 classes of WebVision 1.0, pictures found by Google (Li et al., 2017; Jiang et al., ICML 2018)."""

from __future__ import annotations

from pathlib import Path

from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError, choice, in_range, whole

ALL_CLASSES = 1000
TESTED_PER_CLASS = 50  # validation pictures, in WebVision and in ILSVRC 2012


def load(
    path: str,
    root: str = ".",
    classes: int = 50,
    test: str = "webvision",
    size: int | None = 224,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load the pictures of info/train_filelist_google.txt whose labels are below `classes`; no true label of these is known.

    path: directory of the copy; root: the directory to which it is relative
    classes: the number of classes, the first ones, in [2, 1000]
    test: one of webvision, ilsvrc: the test set; webvision, info/val_filelist.txt with val_images_256/*; ilsvrc, the validation pictures
        of ImageNet 2012 in imagenet/val/<wnid>/*.JPEG
    size: side in pixels to which every picture is resized, at least 1
    cache: directory of the decoded pixels
    partial: whether the copy may have fewer pictures; missing ones are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    Class k is that of line k + 1 in info/synsets.txt, and its name is the first word there, its WordNet identifier.
    The number of training pictures is not checked, because publications state different ones.
    Raises UserError for a missing list or picture, and a label out of range.
    """
    in_range("dataset.classes", whole("dataset.classes", classes, 2), 2, ALL_CLASSES)
    choice("dataset.test", test, ("webvision", "ilsvrc"))
    copy = Copy("WebVision 1.0", Path(root) / path, size, cache, partial, resident)
    wnids = [line.split()[0] for line in copy.lines("info/synsets.txt")][:classes]
    if len(wnids) < classes:
        raise UserError(f"{copy.directory / 'info/synsets.txt'} has {len(wnids)} classes, and dataset.classes is {classes}")
    train = copy.pictures(".", _below(copy, "info/train_filelist_google.txt", classes), known=False)
    folder, tested = _of_webvision(copy, classes) if test == "webvision" else _of_ilsvrc(copy, wnids)
    copy.check_count(copy.directory / folder, len(tested), classes * TESTED_PER_CLASS)
    return copy.source(train, copy.pictures(folder, tested, known=True), wnids)


def _below(copy: Copy, file: str, classes: int) -> list[tuple[str, int]]:
    return [(path, label) for path, label in copy.labelled(file, ALL_CLASSES) if label < classes]


def _of_webvision(copy: Copy, classes: int) -> tuple[str, list[tuple[str, int]]]:
    return "val_images_256", _below(copy, "info/val_filelist.txt", classes)


def _of_ilsvrc(copy: Copy, wnids: list[str]) -> tuple[str, list[tuple[str, int]]]:
    folders = [copy.folder(f"imagenet/val/{wnid}") for wnid in wnids]
    found = [(f"{folder.name}/{file.name}", label) for label, folder in enumerate(folders) for file in sorted(folder.glob("*.JPEG"))]
    return "imagenet/val", found
