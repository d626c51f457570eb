"""The LeNet of the paper's MNIST experiment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class LeNet(nn.Module):
    """Three 5x5 convolutions (16, 32, 64), each max-pooled 3x3 by 2 and rectified, and linear layers of 100 and the output.

    With two classes the output is a single logit z, as in the released code: the logits returned are (0, z), whose softmax
    cross-entropy is the sigmoid cross-entropy of z. 167,113 parameters on 28x28x1. Weights start truncated normal of standard
    deviation 0.1, biases at zero.

    Source: the released code of Ren et al., ICML 2018 (mnist/reweight.py); the paper says "LeNet".
    """

    def __init__(self, num_classes: int, image_shape: torch.Size) -> None:
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for outputs in (16, 32, 64):
            layers += [nn.Conv2d(channels, outputs, 5, padding=2), _same_max_pool(height, width), nn.ReLU()]
            channels, height, width = outputs, -(-height // 2), -(-width // 2)
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(channels * height * width, 100)
        self.output = nn.Linear(100, 1 if num_classes == 2 else num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.output(F.relu(self.hidden(self.features(images))))
        return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits  # (n, num_classes)


def _same_max_pool(height: int, width: int) -> nn.MaxPool2d:
    """TensorFlow's SAME pooling, 3x3 by 2: even sides are padded after only (by ceil_mode), odd ones on both sides."""
    return nn.MaxPool2d(3, 2, padding=(height % 2, width % 2), ceil_mode=True)
