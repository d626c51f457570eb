"""The common format of all loaded datasets."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from datasets.mapped import Images, Mapped, key_of

UNKNOWN = -1  # replaces a true label that is unknown


@dataclass(frozen=True)
class Source:
    """Data as published, or as provided by a user, before any split or corruption.

    train_images, test_images: uint8, (n, channels, height, width), or features, float32 (n, width); in memory, or mapped files
    train_labels: int64, (n,), in 0 .. len(classes) - 1, the given labels
    test_labels: int64, (n,), true labels
    classes: the name of each class
    train_true_labels: int64, (n,), with UNKNOWN for an unknown label; None: the given labels are true. If only some are known, the user
        trusts these, and they form the clean set
    encoding: the conversion of a table's columns to features, as text of datasets.encoding.Encoding
    """

    train_images: Images
    train_labels: torch.Tensor
    test_images: Images
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    train_true_labels: torch.Tensor | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be at least 2 different names, not {list(self.classes)}")
        for part, images in (("training", self.train_images), ("test", self.test_images)):
            _check_images(part, images)
        shapes = self.train_images.shape[1:], self.test_images.shape[1:]
        if self.train_images.dtype != self.test_images.dtype or shapes[0] != shapes[1]:
            raise ValueError(f"training and test data must be alike, not {tuple(shapes[0])} and {tuple(shapes[1])}")
        self._check("training", self.train_labels, len(self.train_images), 0)
        self._check("test", self.test_labels, len(self.test_images), 0)
        if self.train_true_labels is not None:
            self._check("true training", self.train_true_labels, len(self.train_images), UNKNOWN)

    def _check(self, part: str, labels: torch.Tensor, n: int, least: int) -> None:
        wanted = f"{part} labels must be int64 ({n},), as there are {n} {part.removeprefix('true ')} examples"
        if not isinstance(labels, torch.Tensor):
            raise ValueError(f"{wanted}, not a {type(labels).__name__}")
        if labels.dtype != torch.int64 or labels.shape != (n,):
            raise ValueError(f"{wanted}, not {labels.dtype} {tuple(labels.shape)}")
        low, high = int(labels.min()), int(labels.max())
        if not least <= low <= high < len(self.classes):
            raise ValueError(f"{part} labels must lie in {least} .. {len(self.classes) - 1}, not in {low} .. {high}")

    @property
    def true_labels(self) -> torch.Tensor:
        """The training set's true labels, int64 (n,), which may include UNKNOWN."""
        return self.train_labels if self.train_true_labels is None else self.train_true_labels

    @property
    def mapped_bytes(self) -> int:
        """Bytes of the images in mapped files."""
        mapped = [images for images in (self.train_images, self.test_images) if isinstance(images, Mapped)]
        return sum(images.shape.numel() * images.dtype.itemsize for images in mapped)

    @functools.cached_property
    def in_memory(self) -> Source:
        """Return the same data with all images in memory."""
        return replace(self, train_images=self.train_images[:], test_images=self.test_images[:]) if self.mapped_bytes else self

    @functools.cached_property
    def thumbnails(self) -> np.ndarray:
        """Return the training images at 2x2 pixels, means of their quarters, float64 (n, channels * 4)."""
        chunks = self.train_images.chunks() if isinstance(self.train_images, Mapped) else self.train_images.split(1000)
        return np.concatenate([F.adaptive_avg_pool2d(chunk.double(), 2).flatten(1).numpy() for chunk in chunks])

    @functools.cached_property
    def digest(self) -> str:
        """Return the shortened hexadecimal SHA-256 of all images, labels and class names. For a mapped file it is stored beside it."""
        for images in (self.train_images, self.test_images):
            if isinstance(images, Mapped):
                return images.remembered(self._digest(whole=False), lambda: self._digest(whole=True))
        return self._digest(whole=True)

    def _digest(self, whole: bool) -> str:
        """whole: includes the pixels in mapped files, instead of a key for them"""
        sha = hashlib.sha256(repr(self.classes).encode())
        tensors = [self.train_images, self.train_labels, self.test_images, self.test_labels]
        for tensor in [*tensors, *([] if self.train_true_labels is None else [self.train_true_labels])]:
            sha.update(repr(tuple(tensor.shape)).encode())
            if isinstance(tensor, Mapped) and not whole:
                sha.update(key_of(tensor))
                continue
            for part in tensor.chunks() if isinstance(tensor, Mapped) else [tensor.contiguous()]:
                sha.update(part.numpy().data)
        return sha.hexdigest()[:16]


def _check_images(part: str, images: Images) -> None:
    form = f"{part} data must be uint8 images (n, channels, height, width) or float32 features (n, width)"
    if not isinstance(images, torch.Tensor | Mapped):
        raise ValueError(f"{form}, not a {type(images).__name__}")
    if (images.dtype, images.ndim) not in ((torch.uint8, 4), (torch.float32, 2)):
        raise ValueError(f"{form}, not {images.dtype} {tuple(images.shape)}")
    if 0 in images.shape:
        raise ValueError(f"{part} data must not be empty, and its shape is {tuple(images.shape)}")
    if isinstance(images, torch.Tensor) and images.ndim == 2 and not images.isfinite().all():
        raise ValueError(f"{part} data must be finite, and holds infinite numbers or NaN")
