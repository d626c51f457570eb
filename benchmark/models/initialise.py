"""Initialisers that the paper's released code uses and torch does not name."""

from __future__ import annotations

import math

from torch import nn


def truncated_normal_fan_out(convolution: nn.Conv2d) -> None:
    """Weights from a normal of standard deviation sqrt(2 / (k k out_channels)), cut at two of them."""
    height, width = convolution.kernel_size
    std = math.sqrt(2 / (height * width * convolution.out_channels))
    nn.init.trunc_normal_(convolution.weight, std=std, a=-2 * std, b=2 * std)


def uniform_fan_in(linear: nn.Linear) -> None:
    """Weights uniform in +-sqrt(3 / fan_in), bias zero."""
    bound = math.sqrt(3 / linear.in_features)
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
