"""Anyone's own pictures: ROOT/train/<class>/* and ROOT/test/<class>/*, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from datasets.source import Source
from robust_benchmark.errors import UserError, at_least
from robust_benchmark.files import whole

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


def load(path: str, size: int | None = None, cache: str = "data/image_folder", root: str = ".") -> Source:
    """The pictures under `root`/`path`, as RGB; classes are the sorted names of the folders of `path`/train.

    size: side in pixels that every picture is resized to (bilinear); None takes pictures as they are, all of one size.
    cache: where the decoded pixels are kept, keyed by every file's name, length and time of change.
    Raises UserError for a directory that is missing or empty, a class without pictures, a broken picture, or unequal sizes.
    """
    if size is not None:
        at_least("size", size, 1)
    directory = Path(root) / path
    classes = _classes(directory / "train")
    train, test = _files(directory / "train", classes), _files(directory / "test", classes)
    cached = Path(cache) / f"{_fingerprint(directory, train + test, size)}.pt"
    if not cached.exists():
        _save(_decode([file for file, _ in train + test], size), cached)
    images = torch.load(cached, weights_only=True, mmap=True)
    labels = torch.tensor([label for _, label in train + test], dtype=torch.int64)
    cut = len(train)
    return Source(images[:cut].clone(), labels[:cut], images[cut:].clone(), labels[cut:], tuple(classes))


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


def _decode(files: list[Path], size: int | None) -> torch.Tensor:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:  # so that a kill leaves no half cache
        torch.save(images, part)
