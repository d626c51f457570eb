"""Initialisers of the paper's released code that torch does not provide."""

from __future__ import annotations

import math

from torch import nn


def truncated_normal_fan_out(convolution: nn.Conv2d) -> None:
    """Draw weights from a normal distribution with standard deviation sqrt(2 / (k k out_channels)), truncated at two of them."""
    height, width = convolution.kernel_size
    std = math.sqrt(2 / (height * width * convolution.out_channels))
    nn.init.trunc_normal_(convolution.weight, std=std, a=-2 * std, b=2 * std)


def uniform_fan_in(linear: nn.Linear) -> None:
    """Draw weights uniformly from +-sqrt(3 / fan_in), and set the bias to zero."""
    bound = math.sqrt(3 / linear.in_features)
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
