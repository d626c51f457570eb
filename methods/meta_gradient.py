"""Exact meta-gradients by one forward-mode pass: the derivative of the clean loss after a simulated step.

The derivative is with respect to lam: any quantity that enters the training loss through the loss of the logits z, such as weights of
examples or classes, soft labels, or the parameters of a network that gives them. The step is
theta^ = theta - step grad_theta L_train(z; lam) + (terms that do not depend on lam), and

    d L_clean(theta^) / d lam = -step d/d lam sum_ik g_ik(lam) dz_ik
    g = d L_train / d z, (n, K),   dz = (d z / d theta) v, (n, K),   v = grad L_clean(theta^)

by the chain rule, since grad_theta L_train = (d z / d theta)^T g. The backward pass goes only through g(lam), never through the model.
A method makes these calls, where `train_loss` is a function of logits that closes over labels and lam:

    theta, step = lookahead(model, gradient(model, images, train_loss), lr)          # not where the step has length 0, as in L2RW
    v = clean_gradient(model, clean.images, clean.labels, at=theta)
    z, dz = logits_along(model, images, v)                                           # the ordinary pass: z also serves the update
    objective = meta_objective(train_loss, z, dz, step)                              # its gradient by lam is the meta-gradient

Dropout draws new masks in each pass: theta^ uses those of the first pass, z and dz those of the last.
Source: the one-step bilevel gradient of Ren et al. (ICML 2018) and Shu et al. (NeurIPS 2019), who unroll it by backward on backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base import decayed_weights
from methods.dual import Dual, parts

Parameters = dict[str, torch.Tensor]  # values, gradients or a direction, by parameter name
LossOfLogits = Callable[[torch.Tensor], torch.Tensor]  # (n, K) to a scalar


def gradient(model: nn.Module, images: torch.Tensor, loss: LossOfLogits, at: Parameters | None = None) -> Parameters:
    """Return the gradient of loss(logits) by parameter name.

    at: the parameters to differentiate by and their values; the others are constants; by default all trained parameters, unchanged
    Batch norm in training mode uses the batch's statistics, and its running averages do not change.
    """
    with still_running_averages(model):
        if at is None:
            point: Parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
            logits = model(images)
        else:
            point = {name: value.detach().requires_grad_() for name, value in at.items()}
            constants = {name: parameter.detach() for name, parameter in model.named_parameters()}
            logits = functional_call(model, constants | point, (images,))
    gradients = torch.autograd.grad(loss(logits), list(point.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(point, gradients, strict=True))


def clean_gradient(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, weight_decay: float = 0.0, at: Parameters | None = None
) -> Parameters:
    """Return `gradient` of the mean cross-entropy of (images, labels), plus weight_decay times the parameters with weight decay."""
    direction = gradient(model, images, lambda logits: F.cross_entropy(logits, labels), at)
    if weight_decay:
        point = at or dict(model.named_parameters())
        for name in direction.keys() & decayed_weights(model):
            direction[name] = direction[name] + weight_decay * point[name].detach()
    return direction


@torch.no_grad()
def lookahead(
    model: nn.Module,
    training_gradient: Parameters,
    lr: float | torch.Tensor,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    buffers: Mapping[str, torch.Tensor] | None = None,
) -> tuple[Parameters, float | torch.Tensor]:
    """Return theta^, the named parameters after one step of SGD, and their change per unit of gradient; nothing changes in place.

        d = g + weight_decay theta,   b = momentum buffer + d,   theta^ = theta - lr b,   or theta - lr (d + momentum b) by Nesterov

    The second value is -d theta^ / d g: lr, or lr (1 + momentum) by Nesterov. Weight decay acts only on `decayed_weights`.
    training_gradient: g by name; only the parameters that it names change, for example those of the last layer
    buffers: the momentum buffers by name, before the step; zero by default
    """
    parameters, decayed = dict(model.named_parameters()), set(decayed_weights(model))
    moved = {}
    for name, g in training_gradient.items():
        theta = parameters[name]
        d = g + weight_decay * theta if name in decayed else g
        b = d if buffers is None else momentum * buffers[name] + d
        moved[name] = theta.clone().sub_(lr * (d + momentum * b if nesterov else b))  # a clone has theta's strides, which fast kernels need
    return moved, lr * (1 + momentum) if nesterov else lr


def logits_along(model: nn.Module, images: torch.Tensor, direction: Parameters) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits z, (n, K), with their graph, and their derivative dz along `direction`, (n, K), without one, in one forward pass.

    The pass is the model's ordinary one (it updates running averages and draws dropout masks), so the update can use its graph.
    Tangents are computed in the same pass and dropped after use; the backward pass needs no additional memory.
    """
    parameters = dict(model.named_parameters())
    duals = {name: Dual.make(parameters[name], tangent) for name, tangent in direction.items()}
    z, dz = parts(functional_call(model, duals, (images,)))
    return z, torch.zeros_like(z) if dz is None else dz


def slopes(z: torch.Tensor, dz: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return u, (n,): the derivative of each cross-entropy f_i along the direction of dz, <grad f_i, v>.

        u_i = sum_k p_ik dz_ik - dz_{i, y_i},   p = softmax(z);   sum_k q_ik (sum_j p_ij dz_ij - dz_ik) for soft labels q

    labels: y, int64 (n,), or q, (n, K), with respect to which u is differentiable; z and dz are constants.
    The clean loss changes by -step u_i for each unit of weight w_i in a training loss sum_i w_i f_i.
    """
    expected = (F.softmax(z.detach(), dim=1) * dz).sum(dim=1)
    if labels.ndim == 1:
        return expected - dz.gather(1, labels[:, None])[:, 0]
    return (labels * (expected[:, None] - dz)).sum(dim=1)


def meta_objective(train_loss: LossOfLogits, z: torch.Tensor, dz: torch.Tensor, step: float | torch.Tensor) -> torch.Tensor:
    """Return the scalar -step sum_ik g_ik dz_ik, whose gradient by other inputs of `train_loss` is that of L_clean(theta^).

    Its value is the change of the clean loss by the step, to first order at theta^. z and dz, (n, K), are constants for the gradient,
    but train_loss is differentiated by z. Therefore weights are exact if they are detached or depend differentiably on the losses.
    """
    z = z.detach().requires_grad_()
    (g,) = torch.autograd.grad(train_loss(z), z, create_graph=True)
    return -step * (g * dz).sum()


@contextmanager
def still_running_averages(model: nn.Module) -> Iterator[None]:
    """Context in which batch norm in training mode does not update its running averages."""
    moving = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for module in moving:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
