"""The pre-activation ResNet-18 for 32x32 images that DivideMix and later methods train."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.models.classifier import Classifier, GlobalAveragePool, in_order
from robust_benchmark.errors import whole


class PreActResNet18(Classifier):
    """A 3x3 stem and four stages of two pre-activation units each, with strides 1, 2, 2, 2; average pool over the pixels.

    width: channels of the stem and of stage 1, at least 1; each later stage has twice the channels of the previous one

    11,171,274 parameters at 10 classes and the default width. PyTorch's default initial weights.

    Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, in the form of the released code of Li, Socher and
    Hoi, "DivideMix", ICLR 2020. It has batch norm and ReLU after the stem and none before the pool. A unit without a projection
    adds its input after the first batch norm and ReLU; He et al. add the raw input, and end with batch norm and ReLU.
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, width: int = 64) -> None:
        whole("width", width, 1)
        stem = nn.Sequential(nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        body = in_order(
            stem=stem,
            stage1=nn.Sequential(PreActUnit(width, width, 1), PreActUnit(width, width, 1)),
            stage2=nn.Sequential(PreActUnit(width, 2 * width, 2), PreActUnit(2 * width, 2 * width, 1)),
            stage3=nn.Sequential(PreActUnit(2 * width, 4 * width, 2), PreActUnit(4 * width, 4 * width, 1)),
            stage4=nn.Sequential(PreActUnit(4 * width, 8 * width, 2), PreActUnit(8 * width, 8 * width, 1), GlobalAveragePool()),
        )
        super().__init__(body, nn.Linear(8 * width, num_classes))


class PreActUnit(nn.Module):
    """Pre-activation unit; see PreActResNet18. A 1x1 convolution projects the shortcut if the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        )
        changes = stride > 1 or channels_in != channels_out
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        active = self.activation(images)
        return self.residual(active) + self.shortcut(active)
