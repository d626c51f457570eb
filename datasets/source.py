"""The one form every dataset is loaded into."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Source:
    """Clean data as published: images with their true labels, before any split or corruption.

    train_images, test_images: uint8, (n, channels, height, width)
    train_labels, test_labels: int64, (n,), in 0 .. len(classes) - 1
    classes: the name of each class
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.dtype != torch.uint8 or images.ndim != 4:
                raise ValueError(f"{part} images must be uint8 (n, channels, height, width), not {images.dtype} {tuple(images.shape)}")
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise ValueError(f"{part} labels must be int64 ({len(images)},), not {labels.dtype} {tuple(labels.shape)}")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise ValueError(f"{part} labels must lie in 0 .. {len(self.classes) - 1}")

    @functools.cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256, shortened, of all images, labels and names of classes."""
        sha = hashlib.sha256(repr(self.classes).encode())
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(repr(tuple(tensor.shape)).encode())
            sha.update(tensor.contiguous().numpy().data)
        return sha.hexdigest()[:16]
