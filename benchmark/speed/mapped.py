"""The cost of minibatches whose images stay on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmark.speed.measure import Effort, Work, compare
from benchmark.speed.steps import BATCH
from benchmark.training.batches import Batches
from datasets.augment import Preprocessing
from datasets.mapped import ArrayFile, Images, Mapped
from datasets.mapped import mapped as mapped_file
from datasets.task import Examples
from methods.sampling import uniform

BYTES = 2**31  # size of the file
SIDES = (32, 64, 224)
SHARE = 10  # share of the file's images drawn between two drops: their pages are at most a quarter of the file, like a memory limit
CALLERS = 16  # threads that read side by side without other work: more threads gain little
VIEWS = {"cropped and mirrored": Preprocessing(0.5, 0.5, pad=2, flip=True), "as stored": Preprocessing(0.5, 0.5)}


def mapped(effort: Effort) -> Iterator[list[str]]:
    """Compare minibatches of 100 from a 2 GiB file that the system has dropped from memory with the same images in memory."""
    for side in SIDES:
        yield from rows(effort, side, BYTES)


def rows(effort: Effort, side: int, size: int) -> Iterator[list[str]]:
    """Return three rows per view, by HEADERS: of images with three channels and `side`, in a temporary file of about `size` bytes."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "images.npy"
        _write(path, size // (3 * side * side), side)
        stored = mapped_file(path)
        drawn = max(1, len(stored) // SHARE // BATCH)
        whole = stored[:]
        for view, preprocessing in VIEWS.items():
            contenders = {
                "in memory": _draws(_stream(whole, preprocessing, effort.device), drawn),
                "mapped": _dropped(stored.file, _draws(_stream(stored, preprocessing, effort.device), drawn)),
                "the disk's reads alone": _dropped(stored.file, _reads(stored, drawn)),
            }
            yield from compare(f"3x{side}x{side}, {view}", contenders, replace(effort, repeats=1), per=drawn)


def drop(file: ArrayFile) -> None:
    """Make the system drop the file from memory, so that reading it waits for the disk."""
    descriptor = os.open(file.path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _dropped(file: ArrayFile, work: Work) -> Work:
    def dropped() -> None:
        drop(file)
        work()

    return dropped


def _draws(stream: Batches, drawn: int) -> Work:
    def work() -> None:
        for _ in range(drawn):
            stream.draw()
        stream.close()  # so that nothing is read ahead during other measurements

    return work


def _reads(images: Mapped, drawn: int) -> Work:
    """Read this number of minibatches of random images, as fast as the disk allows, and discard them."""
    rng = np.random.default_rng(0)

    def work() -> None:
        with ThreadPoolExecutor(CALLERS) as threads:
            list(threads.map(images.read, rng.integers(len(images), size=(drawn, BATCH))))

    return work


def _stream(images: Images, preprocessing: Preprocessing, device: torch.device) -> Batches:
    labels = torch.zeros(len(images), dtype=torch.int64)
    return Batches("train", Examples(images, labels, labels).to(device), uniform, BATCH, preprocessing, 0, "mapped")


def _write(path: Path, count: int, side: int) -> None:
    """Write `count` images to a .npy file on the disk: random pixels, the same in each thousand images."""
    some = np.random.default_rng(0).integers(0, 256, (min(count, 1000), 3, side, side), dtype=np.uint8)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, side, side)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, count, len(some)):
            file.write(some[: count - first].data)
        file.flush()
        os.fsync(file.fileno())
