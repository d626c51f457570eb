"""A small fast network for CIFAR-10 on a laptop."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.models.classifier import Classifier, GlobalAveragePool, in_order
from robust_benchmark.errors import at_least, whole

STEM = 12  # channels


class FastNet(Classifier):
    """A 3x3 stem of 12 channels and three blocks that each halve the sides; average pool over the pixels; images of at least 8x8.

    A block is two 3x3 convolutions, each with batch norm and ReLU, and a max pool directly after the first one.
    width: channels of the first block; the second has twice this number, the third four times
    Raises UserError for smaller images.

    291,674 parameters and 20 million multiplications per image with 32 channels and 3x32x32 inputs. PyTorch's default initial weights.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, for the order of layers; here with an ordinary stem,
    ReLU instead of GELU, batch norm's scale, and average instead of max pooling at the end. With max pooling, L2RW can collapse.
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, width: int = 32) -> None:
        whole("width", width, 1)
        at_least("the smaller side of images for model=fastnet", min(image_shape[1:]), 8)
        body = in_order(
            stem=nn.Sequential(nn.Conv2d(image_shape[0], STEM, 3, padding=1), nn.ReLU()),
            block1=_block(STEM, width),
            block2=_block(width, 2 * width),
            block3=nn.Sequential(*_block(2 * width, 4 * width), GlobalAveragePool()),
        )
        super().__init__(body, nn.Linear(4 * width, num_classes))


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        *(_convolution(channels_in, channels_out), nn.MaxPool2d(2), nn.BatchNorm2d(channels_out), nn.ReLU()),
        *(_convolution(channels_out, channels_out), nn.BatchNorm2d(channels_out), nn.ReLU()),
    )


def _convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
