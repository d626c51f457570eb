"""A small batch-norm conv net for small images."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.models.classifier import Classifier, in_order
from robust_benchmark.errors import whole


class ConvNet(Classifier):
    """Two 3x3 convolutions with batch norm and ReLU, pooled twice, and a linear layer; any image size of at least 4x4.

    width: channels of the first convolution, at least 1; the second has twice this number
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, width: int = 16) -> None:
        whole("width", width, 1)
        body = in_order(
            stage1=nn.Sequential(*_block(image_shape[0], width), nn.MaxPool2d(2)),
            stage2=nn.Sequential(*_block(width, 2 * width), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        super().__init__(body, nn.Linear(8 * width, num_classes))


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
