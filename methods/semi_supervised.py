"""The parts of semi-supervised methods: guessed targets, mixed images, and the loss on mixed images."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def mixed(images: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each of `images`, (n, ...), and its target, (n, classes), with those of a random partner.

        a x + (1 - a) x',   a = max(b, 1 - b),   b ~ Beta(alpha, alpha), one draw for all

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; the maximum comes from MixMatch (Berthelot et al.,
    NeurIPS 2019).
    """
    a = torch.distributions.Dirichlet(torch.full((2,), alpha, device=images.device), validate_args=False).sample().max()
    partner = torch.rand(len(images), device=images.device).argsort()
    return a * images + (1 - a) * images[partner], a * targets + (1 - a) * targets[partner]


def sharpened(p: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return p^(1 / temperature), normalised, (n, classes)."""
    return F.softmax(p.log() / temperature, dim=1)


def mean_prediction(nets: Sequence[nn.Module], views: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean softmax of all classifiers on all views, (n, classes)."""
    return torch.stack([F.softmax(net(view), dim=1) for net in nets for view in views]).mean(dim=0)


def semi_supervised_loss(log_p: torch.Tensor, targets: torch.Tensor, u_weight: torch.Tensor) -> torch.Tensor:
    """Return DivideMix's loss on mixed images, the first half labelled, from log-predictions and targets, (n, classes).

    mean CE on the first half + u_weight mean squared error of probabilities on the second + KL(uniform || mean prediction)
    """
    x, u, targets_x, targets_u = *log_p.chunk(2), *targets.chunk(2)
    balance = -(log_p.logsumexp(dim=0) - math.log(len(log_p) / log_p.shape[1])).mean()  # -mean_k log(K mean p_k)
    return F.cross_entropy(x, targets_x) + u_weight * F.mse_loss(u.exp(), targets_u) + balance
