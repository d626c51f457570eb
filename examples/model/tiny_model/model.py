"""A convolutional network of a few thousand parameters."""

import torch
from torch import nn

from benchmark.models.classifier import Classifier, in_order
from robust_benchmark.errors import whole


class Tiny(Classifier):
    """Two 3x3 convolutions with ReLU, the mean over all positions, and a linear layer.

    width: channels of each convolution, at least 1
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, width: int = 16) -> None:
        whole("width", width, 1)
        channels = image_shape[0]
        stage1 = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        stage2 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(in_order(stage1=stage1, stage2=stage2), nn.Linear(width, num_classes))
