"""The LeNet of the paper's MNIST experiment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models.classifier import Classifier, in_order


class LeNet(Classifier):
    """Three 5x5 convolutions (16, 32, 64), each followed by 3x3 max pooling with stride 2 and ReLU; linear layers of 100 and the output.

    With two classes the output is a single logit z, as in the released code: the logits returned are (0, z), whose softmax
    cross-entropy is the sigmoid cross-entropy of z. 167,113 parameters on 28x28x1. Initial weights are truncated normal with
    standard deviation 0.1; biases are zero.

    Source: the released code of Ren et al., ICML 2018 (mnist/reweight.py); the paper says "LeNet".
    """

    def __init__(self, num_classes: int, image_shape: torch.Size) -> None:
        channels, height, width = image_shape
        stages: dict[str, nn.Module] = {}
        for stage, outputs in enumerate((16, 32, 64), start=1):
            convolution = nn.Conv2d(channels, outputs, 5, padding=2)
            stages[f"stage{stage}"] = nn.Sequential(convolution, _same_max_pool(height, width), nn.ReLU())
            channels, height, width = outputs, -(-height // 2), -(-width // 2)
        stages["hidden"] = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 100), nn.ReLU())
        super().__init__(in_order(**stages), SingleLogit(100) if num_classes == 2 else nn.Linear(100, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
                nn.init.zeros_(module.get_parameter("bias"))


class SingleLogit(nn.Linear):
    """A linear layer with one logit z for two classes: the logits (0, z)."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.pad(super().forward(features), (1, 0))  # (n, 2)


def _same_max_pool(height: int, width: int) -> nn.MaxPool2d:
    """Apply TensorFlow's SAME pooling, 3x3 with stride 2: even sides are padded only at the end (by ceil_mode), odd ones on both sides."""
    return nn.MaxPool2d(3, 2, padding=(height % 2, width % 2), ceil_mode=True)
