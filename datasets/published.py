"""Published datasets that torchvision downloads and reads: MNIST, MNIST 4-vs-9, Fashion-MNIST, CIFAR-10, CIFAR-100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.source import Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError, at_least, in_range, whole

WHERE = {
    "MNIST": "the four IDX files (train-images-idx3-ubyte, ...) in {root}/MNIST/raw",
    "FashionMNIST": "the four IDX files (train-images-idx3-ubyte, ...) in {root}/FashionMNIST/raw",
    "CIFAR10": "the 'python version' of CIFAR-10, unpacked, as {root}/cifar-10-batches-py",
    "CIFAR100": "the 'python version' of CIFAR-100, unpacked, as {root}/cifar-100-python",
}


def load(reader: str, root: str, download: bool = True, train_size: int | None = None) -> Source:
    """Load the dataset of torchvision's class `reader` from the directory `root`; download it on first use if `download`.

    reader: one of MNIST, FashionMNIST, CIFAR10, CIFAR100
    root: the directory of the data
    download: download missing files
    train_size: number of random training images, the same in every trial, at least 1; null for all. The test set is complete

    Raises UserError with the required files if the data is neither on disk nor available, and for a `train_size` out of range.
    """
    train, test = (_open(reader, root, part, download) for part in (True, False))
    images, labels = _tensors(train)
    if train_size is not None:
        chosen = _chosen(reader, len(labels), train_size)
        images, labels = images[chosen], labels[chosen]
    return Source(images, labels, *_tensors(test), classes=tuple(train.classes))


def _chosen(reader: str, n: int, train_size: int) -> torch.Tensor:
    """Return positions of `train_size` of `n` training images, in ascending order."""
    in_range("train_size", whole("train_size", train_size, 1), 1, n)
    return torch.from_numpy(np.sort(numpy_stream(0, reader, "train").permutation(n)[:train_size]))


def load_mnist49(root: str, test_per_class: int | None = None, download: bool = True) -> Source:
    """Load MNIST's fours (label 0) and nines (label 1): the task of the paper's Figure 2.

    root: the directory of the data; download: download missing files
    test_per_class: test images of each class, at least 1; None uses every test image (982 fours, 1,009 nines); 250, the first of each,
        is the size in the released code.
    """
    if test_per_class is not None:
        at_least("test_per_class", test_per_class, 1)
    mnist = load("MNIST", root, download)
    train, train_labels = _four_or_nine(mnist.train_images[:], mnist.train_labels, None)
    test, test_labels = _four_or_nine(mnist.test_images[:], mnist.test_labels, test_per_class)
    return Source(train, train_labels, test, test_labels, ("4", "9"))


def _four_or_nine(images: torch.Tensor, labels: torch.Tensor, per_class: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    fours, nines = (torch.nonzero(labels == digit).flatten()[:per_class] for digit in (4, 9))
    binary = torch.cat([torch.zeros(len(fours), dtype=torch.int64), torch.ones(len(nines), dtype=torch.int64)])
    return images[torch.cat([fours, nines])], binary


def _open(name: str, root: str, train: bool, download: bool) -> Any:
    import torchvision.datasets as published  # slow to import, and only these sources need it

    read = getattr(published, name)
    where = WHERE[name].format(root=Path(root).resolve())
    try:
        return read(root, train=train, download=False)
    except RuntimeError:  # torchvision's message for "not on disk"
        pass
    except Exception as error:  # any other error for a file that cannot be read
        raise UserError(f"{name} in {root} is damaged ({_first_line(error)}): put {where} anew") from error
    if not download:
        raise UserError(f"{name} is not in {root}: put {where}")
    try:
        return read(root, train=train, download=True)
    except Exception as error:
        raise UserError(f"{name} is not in {root} and could not be downloaded ({_first_line(error)}): put {where}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _tensors(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return uint8 (n, channels, height, width) and int64 (n,) from torchvision's (n, h, w) or (n, h, w, c)."""
    images = torch.from_numpy(np.ascontiguousarray(dataset.data))
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return images, torch.as_tensor(dataset.targets, dtype=torch.int64)
