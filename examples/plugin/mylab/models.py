"""A network with one hidden layer."""

import torch
from torch import nn

from benchmark.models.classifier import Classifier, in_order


class Flat(Classifier):
    """Pixels, `width` hidden units, logits."""

    def __init__(self, num_classes: int, image_shape: torch.Size, width: int = 32) -> None:
        hidden = nn.Sequential(nn.Flatten(), nn.Linear(image_shape.numel(), width), nn.ReLU())
        super().__init__(in_order(hidden=hidden), nn.Linear(width, num_classes))
