"""Your own pictures: ROOT/train/<class>/* and ROOT/test/<class>/*, decoded once into a cache.

Optional: clean/<class>/*, trusted pictures, and labels.csv (`datasets/label_table.py`), labels in a table.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from datasets import label_table
from datasets.label_table import Picture
from datasets.mapped import Mapped, mapped
from datasets.source import UNKNOWN, Source
from robust_benchmark.errors import UserError
from robust_benchmark.errors import whole as whole_number
from robust_benchmark.files import regular, whole

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
DECODED_AT_ONCE = 1024  # pictures at a time, so that not all of them need to fit in memory
DECODING = 2  # part of cache names: a change of the decoding result makes new caches


def load(
    path: str,
    size: int | None = None,
    cache: str = "data/image_folder",
    root: str = ".",
    true_labels: bool = True,
    resident: bool = True,
) -> Source:
    """Load the pictures under `root`/`path`, as RGB; classes are the sorted names of the folders of `path`/train.

    path: directory with train/, test/ and optionally clean/ and labels.csv; root: the directory to which it is relative
    size: side in pixels to which every picture is resized, at least 1 (bilinear); None keeps the pictures, which must have one size.
    cache: directory of the decoded pixels, keyed by every file's name, length and modification time.
    true_labels: the labels of train/ are true; if false, they are only given, and the true labels are UNKNOWN
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    With `path`/clean/<class>/*, these pictures follow those of train/ and their labels are true; labels of train/ are then only given.
    With `path`/labels.csv, pictures are anywhere below train/, that table has their labels, and classes are the folders of test/.
    Raises UserError for a directory that is missing or empty, a class without pictures, a broken picture, unequal sizes, an error in
    labels.csv, or two conflicting sources of true labels.
    """
    if size is not None:
        whole_number("dataset.size", size, 1)
    if not isinstance(true_labels, bool):
        raise UserError(f"dataset.true_labels must be true or false, not {true_labels!r}")
    directory = Path(root) / path
    naming = "test" if os.path.lexists(directory / "labels.csv") else "train"
    classes = _classes(directory / naming)
    train = _training_pictures(directory, classes, naming, true_labels)
    test = _files(directory / "test", classes, naming)
    images = _images(directory, [picture.file for picture in train] + [file for file, _ in test], size, Path(cache))
    given, true = (torch.tensor([getattr(picture, kind) for picture in train], dtype=torch.int64) for kind in ("given", "true"))
    test_labels = torch.tensor([label for _, label in test], dtype=torch.int64)
    parts = images.take(slice(len(train))), images.take(slice(len(train), None))
    known = None if torch.equal(given, true) else true
    source = Source(parts[0], given, parts[1], test_labels, tuple(classes), known)
    return source.in_memory if resident else source


def _classes(part: Path) -> list[str]:
    classes = _folders(part)
    if len(classes) < 2:
        raise UserError(f"{part} holds {len(classes)} class folders; at least 2 are needed")
    return classes


def _folders(part: Path) -> list[str]:
    if not part.is_dir():
        raise UserError(f"no directory {part}: image_folder reads <path>/train/<class>/* and <path>/test/<class>/*")
    return sorted(entry.name for entry in _entries(part) if entry.is_dir())


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror})") from error


def _training_pictures(directory: Path, classes: list[str], naming: str, true_labels: bool) -> list[Picture]:
    """Return those of train/ in the order of their names, then those of clean/."""
    table, clean = directory / "labels.csv", directory / "clean"
    trusted = [Picture(file, label, label) for file, label in _files(clean, classes, naming)] if os.path.lexists(clean) else []
    known = true_labels and not trusted
    if not os.path.lexists(table):
        files = _files(directory / "train", classes, naming)
        return [Picture(file, label, label if known else UNKNOWN) for file, label in files] + trusted
    pictures = label_table.read(table, classes, _pictures(directory / "train"))
    if pictures[0].true != UNKNOWN and not known:
        contrary = f"only pictures in {clean} have them" if trusted else "dataset.true_labels=false says that none is known"
        raise UserError(f"{table} has true labels of all pictures in train/, and {contrary}: leave one of the two out")
    return pictures + trusted


def _files(part: Path, classes: list[str], naming: str) -> list[tuple[Path, int]]:
    """Return every picture of `part` with its label, in the order of class and name. naming: the part whose folders are the classes"""
    strangers = sorted(set(_folders(part)) - set(classes))
    if strangers:
        raise UserError(f"{part} holds class '{strangers[0]}', which {naming}/ has not")
    return [(file, label) for label, name in enumerate(classes) for file in _pictures(part / name)]


def _pictures(folder: Path) -> list[Path]:
    inside = folder.rglob("*") if folder.is_dir() and _entries(folder) else ()  # rglob treats an unreadable folder as empty
    found = sorted(file for file in inside if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"no pictures in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    return found


def _images(directory: Path, files: Sequence[Path], size: int | None, cache: Path) -> Mapped:
    """Return the pixels of `files`, uint8 (n, 3, height, width), from the cache, which is filled first."""
    cached = cache / f"{_fingerprint(directory, files, size)}.npy"
    try:
        if not _is_whole(cached, len(files)):
            _put(files, size, cached)
    except OSError as error:
        raise UserError(f"cannot write the decoded pictures to {cache}: {error}") from error
    return mapped(cached)


def _fingerprint(root: Path, files: Sequence[Path], size: int | None) -> str:
    """Return a digest of everything that determines the pixels: the files, their order and state, and the size. The cache has no labels.

    Raises UserError for a path that has a picture's name but is not a file.
    """
    digest = hashlib.sha256(os.fsencode(f"{root.resolve()} {size} {DECODING}"))
    for file in files:
        stat = regular(file)
        digest.update(os.fsencode(f"{file.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()[:24]


def _put(files: Sequence[Path], size: int | None, cached: Path) -> None:
    """Decode the pictures into the cache. Raises OSError if it cannot be written."""
    if os.path.lexists(cached):
        print(f"cache {cached} is damaged or another file: the pictures are decoded again", file=sys.stderr)
    cached.parent.mkdir(parents=True, exist_ok=True)
    with whole(cached) as part, part.open("wb") as out:  # a kill leaves no partial cache
        _decode(files, size, out, disk_usage(cached.parent).free)
        out.write(cached.stem.encode())


def _is_whole(cached: Path, n: int) -> bool:
    """Return whether the file holds `n` pictures and ends with its own name, which is written last and is unique to this data."""
    try:
        length = regular(cached).st_size
        with cached.open("rb") as file:
            file.seek(max(0, length - len(cached.stem)))
            return file.read() == cached.stem.encode() and len(mapped(cached)) == n
    except UserError:
        return False


def _check_room(count: int, height: int, width: int, free: int) -> None:
    """Raise UserError if the disk cannot hold the pictures, or if the memory cannot hold those that are decoded at once."""
    size, memory = 3 * height * width, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    parts = ("the disk", count * size, free), ("memory", 3 * min(count, DECODED_AT_ONCE) * size, memory)
    for place, needed, there in parts:
        if needed > there:
            raise UserError(
                f"{count:,} pictures of {width}x{height} pixels need {needed / 1e9:,.1f} GB of {place},"
                f" and there are {there / 1e9:,.1f} GB: give a smaller dataset.size"
            )


def _decode(files: Sequence[Path], size: int | None, out: BinaryIO, free: int) -> None:
    """Write an array, uint8 (n, 3, height, width), as .npy, some pictures at a time. free: free bytes on the disk"""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the decoders release the interpreter lock
        shape = _picture(files[0], None).shape if size is None else (size, size, 3)
        _check_room(len(files), shape[0], shape[1], free)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), 3, *shape[:2])}
        np.lib.format.write_array_header_1_0(out, header)
        for first in range(0, len(files), DECODED_AT_ONCE):
            some = files[first : first + DECODED_AT_ONCE]
            pictures = list(pool.map(lambda file: _picture(file, size), some, chunksize=256))
            for file, picture in zip(some, pictures, strict=True):
                if picture.shape != shape:
                    raise UserError(
                        f"{file} is {picture.shape[1]}x{picture.shape[0]} pixels and {files[0]} is"
                        f" {shape[1]}x{shape[0]}: give dataset.size=SIDE to resize all"
                    )
            out.write(np.stack(pictures).transpose(0, 3, 1, 2).tobytes())


def _picture(file: Path, size: int | None) -> np.ndarray:
    """uint8 (height, width, 3)."""
    from PIL import Image  # comes with torchvision

    try:
        with Image.open(file) as opened:
            image = _of_8_bits(opened, file).convert("RGB")
            return np.asarray(image if size is None else image.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # PIL raises all of these for a broken file
        raise UserError(f"{file} is not a readable picture ({error}); remove or replace it") from error


def _of_8_bits(image: PIL.Image.Image, file: Path) -> PIL.Image.Image:
    """Reduce 16-bit grey to its high byte, as PIL does for 16-bit colours; PIL would clip grey. Raises UserError for 32 bits."""
    from PIL.Image import fromarray

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "whole" if image.mode == "I" else "float"
        raise UserError(f"{file} holds {kind} numbers of 32 bits, which do not say what is white: convert it to 8 or 16 bits")
    return image
