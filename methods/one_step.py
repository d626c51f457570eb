"""The calls of `methods.meta_gradient` in their usual order, for methods whose own network enters the training loss of a step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch
from methods.meta_gradient import LossOfLogits, gradient, logits_along, lookahead

Step = float | torch.Tensor


def logits_ahead(
    model: nn.Module, images: torch.Tensor, train_loss: LossOfLogits, lr: Step, clean: Batch, classes: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, Step]:
    """Return z, dz and the step for `meta_objective` and `slopes`: dz is along grad L_clean(theta^), theta^ = theta - lr grad L_train.

    L_clean is the mean cross-entropy of the clean batch. The step is plain, without momentum and weight decay.
    classes: the number of logits among the outputs of the model, if it has other outputs after them; z and dz contain all of them
    z, (n, outputs), is the model's ordinary pass, with its graph; dz, (n, outputs), has none.
    """
    theta, step = lookahead(model, gradient(model, images, train_loss), lr)
    direction = gradient(model, clean.images, lambda outputs: F.cross_entropy(outputs[:, :classes], clean.labels), at=theta)
    return *logits_along(model, images, direction), step


def with_value(objective: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return a scalar with the gradient of `objective` and the value of `value`, such as the training loss, which histories show."""
    return objective - objective.detach() + value.detach()


def share_network(hidden: int) -> nn.Sequential:
    """Return a network that maps numbers, (n, 1), to shares in (0, 1), (n, 1): V of Meta-Weight-Net."""
    return nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())
