"""The labels under audit, from a folder or a list of pictures, a table, or a data set of the suite."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datasets.mapped import Images, Mapped, taken
from datasets.source import UNKNOWN
from datasets.task import Examples

SMALL = 16  # pixels; smaller pictures have another model


@dataclass(frozen=True)
class Audited:
    """The examples whose given labels are judged.

    kind: table, pictures, or suite for a data set of the suite
    images: uint8 (n, channels, height, width), or features, float32 (n, width)
    labels: given labels, int64 (n,); classes: their names; names: a path or a row number for each example
    trusted: examples whose labels are right, of the same form as `images`; None without any
    true_labels: int64 (n,), for data whose true labels are known, which only measure the audit
    files: the picture of each example; table: the rows as read, with the label in the column `label`
    notes: sentences for the user
    """

    kind: str
    images: Images
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    trusted: Examples | None = None
    true_labels: np.ndarray | None = None
    files: tuple[Path, ...] = ()
    table: pd.DataFrame | None = field(default=None, repr=False)
    label: str = "label"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def settings(self) -> str:
        """The entry of conf/audit.yaml with the choices for this data."""
        return "small_pictures" if self.kind == "pictures" and min(self.images.shape[-2:]) < SMALL else self.kind

    @property
    def digest(self) -> str:
        """The shortened SHA-256 of the examples and of the trusted ones, without the labels under audit."""
        sha = hashlib.sha256(repr((self.classes, self.kind)).encode())
        for images in (self.images, *(() if self.trusted is None else (self.trusted.images,))):
            sha.update(repr(tuple(images.shape)).encode())
            for part in images.chunks() if isinstance(images, Mapped) else [images.contiguous()]:
                sha.update(part.numpy().data)
        if self.trusted is not None:
            sha.update(self.trusted.labels.numpy().data)
        return sha.hexdigest()[:16]

    @property
    def mapped_bytes(self) -> int:
        """Bytes of the images, if they are in a mapped file."""
        return self.images.shape.numel() * self.images.dtype.itemsize if isinstance(self.images, Mapped) else 0

    def in_memory(self) -> Audited:
        """Return the same data with all images in memory."""
        trusted = None if self.trusted is None else replace(self.trusted, images=self.trusted.images[:])
        return replace(self, images=self.images[:], trusted=trusted)

    def relabelled(self, labels: np.ndarray) -> Audited:
        """Return the same examples with other given labels, int64 (n,)."""
        return replace(self, labels=labels)

    def examples(self, index: np.ndarray) -> Examples:
        """Return the examples at `index` with their given labels; their true labels are UNKNOWN to every method."""
        labels = torch.from_numpy(self.labels[index])
        return Examples(taken(self.images, index), labels, torch.full_like(labels, UNKNOWN))

    def clean(self) -> Examples:
        """Return the trusted examples, or an empty set of the same form."""
        return self.examples(np.arange(0)) if self.trusted is None else self.trusted


def rare(classes: Sequence[str], labels: np.ndarray, folds: int) -> list[str]:
    """Return a sentence for each class with fewer examples than folds."""
    counts = np.bincount(labels, minlength=len(classes))
    return [
        f"class '{name}' has {count} examples for {folds} folds: some models see few or none of them, and its labels look suspicious"
        for name, count in zip(classes, counts.tolist(), strict=True)
        if 0 < count < folds
    ]
