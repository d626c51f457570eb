"""Anyone's own pictures: ROOT/train/<class>/* and ROOT/test/<class>/*, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from datasets.mapped import Mapped, mapped
from datasets.source import Source
from robust_benchmark.errors import UserError, at_least
from robust_benchmark.files import whole

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
DECODED_AT_ONCE = 1024  # pictures, so that all of them need not fit into memory


def load(path: str, size: int | None = None, cache: str = "data/image_folder", root: str = ".", resident: bool = True) -> Source:
    """The pictures under `root`/`path`, as RGB; classes are the sorted names of the folders of `path`/train.

    size: side in pixels that every picture is resized to (bilinear); None takes pictures as they are, all of one size.
    cache: where the decoded pixels are kept, keyed by every file's name, length and time of change.
    resident: the pixels come to memory; else they stay in the cache, which is mapped.
    Raises UserError for a directory that is missing or empty, a class without pictures, a broken picture, or unequal sizes.
    """
    if size is not None:
        at_least("size", size, 1)
    directory = Path(root) / path
    classes = _classes(directory / "train")
    train, test = _files(directory / "train", classes), _files(directory / "test", classes)
    images = _cached([file for file, _ in train + test], size, Path(cache) / f"{_fingerprint(directory, train + test, size)}.npy")
    labels = torch.tensor([label for _, label in train + test], dtype=torch.int64)
    cut = len(train)
    source = Source(images.take(slice(cut)), labels[:cut], images.take(slice(cut, None)), labels[cut:], tuple(classes))
    return source.in_memory if resident else source


def _classes(train: Path) -> list[str]:
    if not train.is_dir():
        raise UserError(f"no directory {train}: image_folder reads <path>/train/<class>/* and <path>/test/<class>/*")
    classes = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
    if len(classes) < 2:
        raise UserError(f"{train} holds {len(classes)} class folders; at least 2 are needed")
    return classes


def _files(part: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Every picture of `part` with its label, in the order of class and name."""
    if not part.is_dir():
        raise UserError(f"no directory {part}: image_folder reads <path>/train/<class>/* and <path>/test/<class>/*")
    strangers = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and entry.name not in classes)
    if strangers:
        raise UserError(f"{part} holds class '{strangers[0]}', which train/ has not")
    files = []
    for label, name in enumerate(classes):
        folder = part / name
        found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        if not found:
            raise UserError(f"no pictures in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
        files += [(file, label) for file in found]
    return files


def _fingerprint(root: Path, files: list[tuple[Path, int]], size: int | None) -> str:
    digest = hashlib.sha256(f"{root.resolve()} {size}".encode())
    for file, label in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(root)} {label} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _cached(files: list[Path], size: int | None, cached: Path) -> Mapped:
    """The pixels, uint8 (n, 3, height, width), decoded unless the cache holds them."""
    if cached.exists() and not _is_whole(cached):
        print(f"cache {cached} is cut off or another file: the pictures are decoded again", file=sys.stderr)
        cached.unlink(missing_ok=True)
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with whole(cached) as part, part.open("wb") as out:  # so that a kill leaves no half cache
            _decode(files, size, out)
            out.write(cached.stem.encode())
    return mapped(cached)


def _is_whole(cached: Path) -> bool:
    """Whether the file ends with its own name, which is written last and is a name that no other data have."""
    with cached.open("rb") as file:
        file.seek(max(0, cached.stat().st_size - len(cached.stem)))
        return file.read() == cached.stem.encode()


def _decode(files: list[Path], size: int | None, out: BinaryIO) -> None:
    """Write an array, uint8 (n, 3, height, width), as .npy, some pictures at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the decoders release the interpreter lock
        shape = _picture(files[0], size).shape
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
    from PIL import Image  # comes with torchvision

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
            return np.asarray(image if size is None else image.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all are PIL's words for a broken file
        raise UserError(f"{file} is not a readable picture ({error}); remove or replace it") from error
