"""Whole-batch augmentation and normalisation of uint8 images, on the device that holds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from datasets.errors import at_least


@dataclass(frozen=True)
class Preprocessing:
    """How stored pixels become a model's input.

    mean, std: of pixels in [0, 1]; the input is (pixel / 255 - mean) / std
    pad, flip: training images are zero-padded by `pad` pixels a side and cropped back at random, and mirrored with
        probability 1/2 where `flip`
    """

    mean: float = 0.5
    std: float = 0.5
    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        at_least("pad", self.pad, 0)
        at_least("std", self.std, 1e-12)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """float32 model input from uint8 pixels, the same shape."""
        return images.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    def augment(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A random crop and mirror image of each of `images`, uint8 (n, channels, height, width), in one gather."""
        if not self.pad and not self.flip:
            return images
        n, channels, height, width = images.shape
        device = images.device
        top, left = torch.randint(0, 2 * self.pad + 1, (2, n, 1), device=device, generator=generator)
        rows = top + torch.arange(height, device=device)  # (n, height)
        columns = left + torch.arange(width, device=device)  # (n, width)
        if self.flip:
            mirrored = torch.rand(n, 1, device=device, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        padded = F.pad(images, (self.pad,) * 4)
        return padded[
            torch.arange(n, device=device).view(n, 1, 1, 1),
            torch.arange(channels, device=device).view(1, channels, 1, 1),
            rows.view(n, 1, height, 1),
            columns.view(n, 1, 1, width),
        ]
