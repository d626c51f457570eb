"""One plain step of a model as a part of the graph, and the clean loss after it: backward on backward gives every meta-gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

Tensors = dict[str, torch.Tensor]
Examples = tuple[torch.Tensor, torch.Tensor]  # images and labels


def parameters_of(model: nn.Module) -> Tensors:
    return {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}


def called(model: nn.Module, theta: Tensors, images: torch.Tensor) -> torch.Tensor:
    """Outputs at theta, with batch norm in training mode. The model's running statistics stay."""
    return functional_call(copy.deepcopy(model), theta, (images,))


def meta_gradient(
    model: nn.Module,
    images: torch.Tensor,
    gradient_by_logits: Callable[[torch.Tensor], torch.Tensor],
    lams: Sequence[torch.Tensor],
    clean: Examples,
    lr: float,
    moved: Sequence[str] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Of the mean clean cross-entropy at theta^ = theta - lr (d z / d theta)^T g, by lams.

    gradient_by_logits: g(z), (n, K), that lams enter
    moved: the parameters that move, all by default
    """
    theta = parameters_of(model)
    z = called(model, theta, images)
    names = list(moved or theta)
    step = torch.autograd.grad(z, [theta[name] for name in names], gradient_by_logits(z), create_graph=True)
    ahead = {name: theta[name] - lr * g for name, g in zip(names, step, strict=True)}
    return torch.autograd.grad(F.cross_entropy(called(model, theta | ahead, clean[0]), clean[1]), list(lams))


def gradient_of(model: nn.Module, images: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """Of loss(z) by theta."""
    theta = parameters_of(model)
    return list(torch.autograd.grad(loss(called(model, theta, images)), list(theta.values())))
