"""Anyone's own pictures: ROOT/train/<class>/* and ROOT/test/<class>/*, decoded once into a cache.

Beside them may lie clean/<class>/*, trusted pictures, and labels.csv (`datasets/label_table.py`), labels in a table.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from datasets import label_table
from datasets.label_table import Picture
from datasets.source import UNKNOWN, Source
from robust_benchmark.errors import UserError, at_least
from robust_benchmark.files import whole

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


def load(path: str, size: int | None = None, cache: str = "data/image_folder", root: str = ".", true_labels: bool = True) -> Source:
    """The pictures under `root`/`path`, as RGB; classes are the sorted names of the folders of `path`/train.

    size: side in pixels that every picture is resized to (bilinear); None takes pictures as they are, all of one size.
    cache: where the decoded pixels are kept, keyed by every file's name, length and time of change.
    true_labels: the labels of train/ are true; else they are given, and the true ones are UNKNOWN

    With `path`/clean/<class>/*, these pictures come after those of train/ and their labels are true; labels of train/ are then only given.
    With `path`/labels.csv, pictures lie anywhere below train/, that table has their labels, and classes are the folders of test/.
    Raises UserError for a directory that is missing or empty, a class without pictures, a broken picture, unequal sizes, a mistake in
    labels.csv, or two contrary sources of true labels.
    """
    if size is not None:
        at_least("size", size, 1)
    if not isinstance(true_labels, bool):
        raise UserError(f"dataset.true_labels must be true or false, not {true_labels!r}")
    directory = Path(root) / path
    naming = "test" if (directory / "labels.csv").exists() else "train"
    classes = _classes(directory / naming)
    train = _training_pictures(directory, classes, naming, true_labels)
    test = _files(directory / "test", classes, naming)
    images = _images(directory, [picture.file for picture in train] + [file for file, _ in test], size, Path(cache))
    given, true = (torch.tensor([getattr(picture, kind) for picture in train], dtype=torch.int64) for kind in ("given", "true"))
    test_labels = torch.tensor([label for _, label in test], dtype=torch.int64)
    cut = len(train)
    known = None if torch.equal(given, true) else true
    return Source(images[:cut].clone(), given, images[cut:].clone(), test_labels, tuple(classes), known)


def _classes(part: Path) -> list[str]:
    classes = _folders(part)
    if len(classes) < 2:
        raise UserError(f"{part} holds {len(classes)} class folders; at least 2 are needed")
    return classes


def _folders(part: Path) -> list[str]:
    if not part.is_dir():
        raise UserError(f"no directory {part}: image_folder reads <path>/train/<class>/* and <path>/test/<class>/*")
    return sorted(entry.name for entry in part.iterdir() if entry.is_dir())


def _training_pictures(directory: Path, classes: list[str], naming: str, true_labels: bool) -> list[Picture]:
    """Those of train/ in the order of their names, then those of clean/."""
    table, clean = directory / "labels.csv", directory / "clean"
    trusted = [Picture(file, label, label) for file, label in _files(clean, classes, naming)] if clean.exists() else []
    known = true_labels and not trusted
    if not table.exists():
        files = _files(directory / "train", classes, naming)
        return [Picture(file, label, label if known else UNKNOWN) for file, label in files] + trusted
    pictures = label_table.read(table, classes, _pictures(directory / "train"))
    if pictures[0].true != UNKNOWN and not known:
        contrary = f"only pictures in {clean} have them" if trusted else "dataset.true_labels=false says that none is known"
        raise UserError(f"{table} has true labels of all pictures in train/, and {contrary}: leave one of the two out")
    return pictures + trusted


def _files(part: Path, classes: list[str], naming: str) -> list[tuple[Path, int]]:
    """Every picture of `part` with its label, in the order of class and name. naming: the part whose folders are the classes"""
    strangers = sorted(set(_folders(part)) - set(classes))
    if strangers:
        raise UserError(f"{part} holds class '{strangers[0]}', which {naming}/ has not")
    return [(file, label) for label, name in enumerate(classes) for file in _pictures(part / name)]


def _pictures(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise UserError(f"no pictures in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    return found


def _images(directory: Path, files: Sequence[Path], size: int | None, cache: Path) -> torch.Tensor:
    """The pixels of `files`, uint8 (n, 3, height, width), from the cache, where they are put first."""
    cached = cache / f"{_fingerprint(directory, files, size)}.pt"
    if not cached.exists():
        _save(_decode(files, size), cached)
    images: torch.Tensor = torch.load(cached, weights_only=True, mmap=True)
    return images


def _fingerprint(root: Path, files: Sequence[Path], size: int | None) -> str:
    """Of all that pixels depend on: which files, in which order, as they are now, and the size. Labels are not in the cache."""
    digest = hashlib.sha256(f"{root.resolve()} {size}".encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _decode(files: Sequence[Path], size: int | None) -> torch.Tensor:
    """uint8 (n, 3, height, width); the decoders release the interpreter lock, so threads share the work."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = list(pool.map(lambda file: _picture(file, size), files, chunksize=256))
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise UserError(
                f"{file} is {picture.shape[1]}x{picture.shape[0]} pixels and {files[0]} is"
                f" {pictures[0].shape[1]}x{pictures[0].shape[0]}: give dataset.size=SIDE to resize all"
            )
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _picture(file: Path, size: int | None) -> np.ndarray:
    from PIL import Image  # comes with torchvision

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
            return np.asarray(image if size is None else image.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all are PIL's words for a broken file
        raise UserError(f"{file} is not a readable picture ({error}); remove or replace it") from error


def _save(images: torch.Tensor, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:  # so that a kill leaves no half cache
            torch.save(images, part)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch's word for a file that it cannot write
        raise UserError(f"cannot write the decoded pictures to {path.parent}: {str(error).splitlines()[0]}") from error
