"""The common structure of classifiers: features of images, and an output layer."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class Classifier(nn.Module):
    """A classifier in two parts: output(features(images)) are the logits.

    body: maps images (n, channels, height, width) to features (n, d); its children are the stages (see `in_order`)
    output: a linear layer that maps features (n, d) to logits (n, num_classes)
    """

    def __init__(self, body: nn.Module, output: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.output = output

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (n, d) of normalised images (n, channels, height, width)."""
        return self.body(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, num_classes)."""
        return self.output(self.features(images))

    def stages(self) -> dict[str, nn.Module]:
        """Return the modules from the input to "output", in order; each parameter belongs to exactly one of them."""
        return {**dict(self.body.named_children()), "output": self.output}


def in_order(**stages: nn.Module) -> nn.Sequential:
    """Return the stages in sequence, by their names."""
    return nn.Sequential(OrderedDict(stages))


class GlobalAveragePool(nn.Module):
    """The mean over pixels: (n, channels, height, width) to (n, channels)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))
