"""Whole-batch augmentation and normalisation of uint8 images, on the device that holds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from datasets.strong import strong_view
from robust_benchmark.errors import UserError, at_least, choice, in_range, whole

STRENGTHS = ("none", "weak", "strong")


@dataclass(frozen=True)
class Preprocessing:
    """How stored pixels become a model's input.

    mean, std: of pixels in [0, 1]; the input is (pixel / 255 - mean) / std
    pad, flip: the weak view: images are zero-padded by `pad` pixels a side and cropped back at random, and mirrored with
        probability 1/2 where `flip`
    """

    mean: float = 0.5
    std: float = 0.5
    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        in_range("mean", self.mean, 0, 1)
        whole("pad", self.pad, 0)
        at_least("std", self.std, 1e-12)
        if not isinstance(self.flip, bool):
            raise UserError(f"flip must be true or false, not {self.flip!r}")

    @property
    def random(self) -> bool:
        """Whether the weak view is random."""
        return self.pad > 0 or self.flip

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """float32 model input from uint8 pixels, the same shape; features, float32, stay as they are."""
        if images.dtype != torch.uint8:
            return images
        return images.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    def view(self, strength: str, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """`images`, uint8 (n, channels, height, width), at a strength; all draws are from `generator`.

        strength: "none", the images as they are; "weak", `augment`; "strong", `augment`, then RandAugment and cutout with the mean pixel
            as their fill (`datasets/strong.py`)
        Raises UserError for another strength.
        """
        choice("view", strength, STRENGTHS)
        if strength == "none":
            return images
        weak = self.augment(images, generator)
        return weak if strength == "weak" else strong_view(weak, round(255 * self.mean), generator)

    def augment(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The weak view: a random crop and mirror image of each of `images`, uint8 (n, channels, height, width), in one gather."""
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
