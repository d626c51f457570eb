"""Whole-batch augmentation and normalisation of uint8 images, on the device that holds them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from datasets.mapped import Images
from datasets.strong import strong_view
from robust_benchmark.errors import UserError, at_least, choice, in_range, whole

STRENGTHS = ("none", "weak", "strong")
Values = float | tuple[float, ...]  # of all channels, or one for each


@dataclass(frozen=True)
class Preprocessing:
    """The conversion of stored pixels to a model's input.

    mean: mean of pixels between 0 and 1, a number or one for each channel, in [0, 1]
    std: their deviation, a number or one for each channel, above 0; the input is (pixel / 255 - mean) / std
    pad: pixels of zeros on each side, at least 0; the weak view is a random crop of the padded image
    flip: the weak view is mirrored with probability 1/2
    """

    mean: Values = 0.5
    std: Values = 0.5
    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        whole("pad", self.pad, 0)
        if not isinstance(self.flip, bool):
            raise UserError(f"flip must be true or false, not {self.flip!r}")
        for name in ("mean", "std"):
            given = getattr(self, name)
            object.__setattr__(self, name, tuple(given) if isinstance(given, list) else given)
        for mean in _each(self.mean):
            in_range("mean", mean, 0, 1)
        for std in _each(self.std):
            at_least("std", std, 1e-12)

    @property
    def random(self) -> bool:
        """Whether the weak view is random."""
        return self.pad > 0 or self.flip

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 model input from uint8 pixels, the same shape; float32 features do not change."""
        if images.dtype != torch.uint8:
            return images
        factor, shift = self._factor_and_shift(images.device)
        return images.float().mul_(factor).sub_(shift)

    def _factor_and_shift(self, device: torch.device) -> tuple[float, float] | tuple[torch.Tensor, torch.Tensor]:
        """The input is pixel * factor - shift."""
        if not isinstance(self.mean, tuple) and not isinstance(self.std, tuple):
            return 1 / (255 * self.std), self.mean / self.std
        pairs = [(1 / (255 * std), mean / std) for mean, std in np.broadcast(self.mean, self.std)]
        factors, shifts = zip(*pairs, strict=True)
        return _tensor(factors, torch.float32, device), _tensor(shifts, torch.float32, device)

    def check(self, images: Images) -> None:
        """Raise UserError if the number of means or deviations differs from the number of channels of `images`, as stored."""
        channels = images.shape[1]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, tuple) and images.dtype == torch.uint8 and len(values) != channels:
                count = len(values)
                raise UserError(f"dataset.preprocessing.{name} has {count} values, and images have {channels} channels: give one for each")

    def _fill(self, images: torch.Tensor) -> int | torch.Tensor:
        """Return the mean pixel, of all channels or of each, uint8 (channels, 1, 1)."""
        if not isinstance(self.mean, tuple):
            return round(255 * self.mean)
        return _tensor(tuple(round(255 * mean) for mean in self.mean), torch.uint8, images.device)

    def view(self, strength: str, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return `images`, uint8 (n, channels, height, width), augmented at a strength; all draws come from `generator`.

        strength: "none", the unchanged images; "weak", `augment`; "strong", `augment`, then RandAugment and cutout filled with the mean
            pixel (`datasets/strong.py`)
        Raises UserError for another strength.
        """
        choice("view", strength, STRENGTHS)
        if strength == "none":
            return images
        weak = self.augment(images, generator)
        return weak if strength == "weak" else strong_view(weak, self._fill(images), generator)

    def augment(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the weak view: a random crop and mirror image of each of `images`, uint8 (n, channels, height, width), in one gather."""
        if not self.random:
            return images
        n, _, height, width = images.shape
        device = images.device
        top, left = torch.randint(0, 2 * self.pad + 1, (2, n), device=device, generator=generator)
        sides = F.pad(images, (self.pad,) * 4)[None]  # (1 or 2: mirrored, n, channels, height + 2 pad, width + 2 pad)
        mirrored = torch.zeros_like(top)
        if self.flip:
            mirrored = (torch.rand(n, device=device, generator=generator) < 0.5).long()
            sides = torch.cat([sides, sides.flip(-1)])
            left = torch.where(mirrored == 1, 2 * self.pad - left, left)
        windows = sides.unfold(3, height, 1).unfold(4, width, 1)  # (sides, n, channels, tops, lefts, height, width)
        return windows[mirrored, torch.arange(n, device=device), :, top, left]


def _each(values: Values) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


@functools.cache
def _tensor(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return one value per channel, (channels, 1, 1); it stays on the device, so a batch waits for no copy."""
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)
