"""Exact forward-mode derivatives of per-example losses, which bilevel methods need, at about one extra forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base import decayed_weights
from methods.dual import Dual, parts

Direction = dict[str, torch.Tensor]


def clean_gradient(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, weight_decay: float = 0.0) -> Direction:
    """The gradient of the mean cross-entropy of (images, labels), plus weight_decay times the decayed weights, by parameter name.

    Batch norm uses the batch's statistics, and its running averages do not move.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with still_running_averages(model):
        loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    direction = dict(zip(parameters, gradients, strict=True))
    if weight_decay:
        for name in parameters.keys() & decayed_weights(model):
            direction[name] = direction[name] + weight_decay * parameters[name].detach()
    return direction


def directional_derivative(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, direction: Direction
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies f, (n,), with their graph, and their derivatives <grad f_i, direction>, (n,), in one forward pass.

    The pass is the model's ordinary one (running averages move, dropout masks are drawn), so its graph serves the update.
    Tangents are computed beside it and dropped as soon as they are used: nothing more is kept for the backward pass.
    """
    parameters = dict(model.named_parameters())
    duals = {name: Dual.make(parameters[name], tangent) for name, tangent in direction.items()}
    logits, tangent = parts(functional_call(model, duals, (images,)))
    losses = F.cross_entropy(logits, labels, reduction="none")
    if tangent is None:
        return losses, torch.zeros_like(losses)
    with torch.no_grad():
        expected = (F.softmax(logits, dim=1) * tangent).sum(dim=1)
        return losses, expected - tangent.gather(1, labels[:, None])[:, 0]  # <softmax - onehot, d logits>


@contextmanager
def still_running_averages(model: nn.Module) -> Iterator[None]:
    """Within it, batch norm in training mode does not move its running averages."""
    moving = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for module in moving:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
