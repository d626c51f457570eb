"""A multilayer perceptron, for feature vectors and small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from benchmark.models.classifier import Classifier, in_order
from robust_benchmark.errors import UserError, in_range, whole


class MLP(Classifier):
    """Linear layers with ReLU and dropout; images are flattened.

    hidden: widths of the hidden layers, at least 1; an empty list gives a linear classifier, whose features are the pixels
    dropout: probability of dropping a unit of a hidden layer, in [0, 1]

    Raises UserError if `hidden` is not a list of numbers of at least 1, and for a dropout outside [0, 1].
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, hidden: Sequence[int] = (256, 256), dropout: float = 0.0) -> None:
        if not isinstance(hidden, list | tuple):
            raise UserError(f"hidden must be a list of widths, such as [256, 256], not {hidden!r}")
        widths = [image_shape.numel(), *(whole("a width of hidden", width, 1) for width in hidden)]
        in_range("dropout", dropout, 0, 1)
        layers = {
            f"hidden{number}": nn.Sequential(nn.Linear(*sizes), nn.ReLU(), nn.Dropout(dropout))
            for number, sizes in enumerate(pairwise(widths), start=1)
        }
        super().__init__(in_order(**layers), nn.Linear(widths[-1], num_classes))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images.flatten(1))
