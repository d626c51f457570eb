"""ResNet-32 and WRN-28-10 for 32x32 images: the paper's released variants and the standard ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models.classifier import Classifier, GlobalAveragePool, in_order
from benchmark.models.initialise import truncated_normal_fan_out, uniform_fan_in
from robust_benchmark.errors import choice, in_range, whole


class ResNet(Classifier):
    """A residual network with three stages of two-convolution units, with strides 1, 2, 2.

    units: residual units per stage, at least 1; widen: factor of the stages' 16, 32 and 64 channels, at least 1
    variant: one of paper, standard.
        'paper', the pre-activation units of the released code: batch norm without scale (epsilon 1e-3, decay 0.999), shortcuts
            without parameters (average pooling, zero channels on both sides), stage 1 without leading batch norm, dropout
            before a unit's first convolution;
        'standard', the published architectures: post-activation units of He et al. (2016) if `widen` is 1, otherwise pre-activation
            units with projections and dropout between the convolutions (Zagoruyko and Komodakis, 2016).
    dropout: probability of dropping an activation, in [0, 1]

    Parameters with 10 and 100 classes: paper, ResNet-32 462,954 and 468,804, WRN-28-10 36,211,178 and 36,268,868;
    standard, ResNet-32 464,154 and 470,004, WRN-28-10 36,479,194 and 36,536,884.
    """

    def __init__(
        self, num_classes: int, image_shape: torch.Size, units: int = 5, widen: int = 1, dropout: float = 0.0, variant: str = "paper"
    ) -> None:
        choice("model variant", variant, ("paper", "standard"))
        whole("units", units, 1)
        whole("widen", widen, 1)
        in_range("dropout", dropout, 0, 1)
        unit = PaperUnit if variant == "paper" else WideUnit if widen > 1 else BasicUnit
        norm = ShiftBatchNorm if variant == "paper" else nn.BatchNorm2d
        channels = 16
        stem: list[nn.Module] = [nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)]
        if unit is not WideUnit:
            stem += [norm(channels), nn.ReLU()]
        stages: list[list[nn.Module]] = []
        for stage, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
            stages.append([])
            for position in range(units):
                stride = 2 if stage > 0 and position == 0 else 1
                stages[-1].append(unit(channels, width, stride, dropout, first_stage=stage == 0))
                channels = width
        if unit is not BasicUnit:
            stages[-1] += [norm(channels), nn.ReLU()]
        stages[-1].append(GlobalAveragePool())
        named = {f"stage{number}": nn.Sequential(*layers) for number, layers in enumerate(stages, start=1)}
        super().__init__(in_order(stem=nn.Sequential(*stem), **named), nn.Linear(channels, num_classes))
        self._initialise(variant)

    def _initialise(self, variant: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and variant == "paper":
                truncated_normal_fan_out(module)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        uniform_fan_in(self.output)


class ShiftBatchNorm(nn.BatchNorm2d):
    """Batch norm with a learnt shift and no scale, with TensorFlow contrib's defaults (epsilon 1e-3, decay 0.999)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=1e-3)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class SameConv2d(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's SAME padding: at stride 2, even sides are padded only at the end."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 3, stride, padding=1 if stride == 1 else 0, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.stride == (2, 2):
            before = [side % 2 for side in images.shape[2:]]
            images = F.pad(images, (before[1], 1, before[0], 1))
        return super().forward(images)


class PaperUnit(nn.Module):
    """Pre-activation unit of the released code; see ResNet."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dropout: float, first_stage: bool) -> None:
        super().__init__()
        leading = [] if first_stage else [ShiftBatchNorm(channels_in), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.residual = nn.Sequential(
            *leading,
            SameConv2d(channels_in, channels_out, stride),
            ShiftBatchNorm(channels_out),
            nn.ReLU(),
            SameConv2d(channels_out, channels_out, 1),
        )
        self.stride = stride
        self.missing = (channels_out - channels_in) // 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shortcut = F.avg_pool2d(images, self.stride, ceil_mode=True) if self.stride > 1 else images
        if self.missing:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.missing, self.missing))
        return self.residual(images) + shortcut


class BasicUnit(nn.Module):
    """Post-activation unit with the parameter-free shortcut A of He et al., "Deep Residual Learning", CVPR 2016."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dropout: float, first_stage: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.stride = stride
        self.missing = (channels_out - channels_in) // 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shortcut = images[:, :, :: self.stride, :: self.stride]
        if self.missing:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.missing, self.missing))
        return F.relu(self.residual(images) + shortcut)


class WideUnit(nn.Module):
    """Pre-activation unit with a projection if the shape changes (Zagoruyko and Komodakis, "Wide Residual Networks", 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dropout: float, first_stage: bool) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        )
        changes = stride > 1 or channels_in != channels_out
        self.projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False) if changes else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        active = self.activation(images)
        shortcut = images if self.projection is None else self.projection(active)
        return self.residual(active) + shortcut
