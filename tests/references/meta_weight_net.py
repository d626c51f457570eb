"""Meta-Weight-Net (Shu et al., NeurIPS 2019): one whole step, unrolled, with backward on backward through the lookahead."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

Tensors = dict[str, torch.Tensor]
WEIGHTS = ("hidden weight", "output weight")  # weight decay acts on these


def weighed(net: Tensors, losses: torch.Tensor) -> torch.Tensor:
    """V(f_i), (n,): 1 -> hidden with ReLU -> 1 with sigmoid. net: hidden weight (h, 1), hidden bias, output weight (1, h), output bias."""
    hidden = torch.relu(losses[:, None] @ net["hidden weight"].T + net["hidden bias"])
    return torch.sigmoid(hidden @ net["output weight"].T + net["output bias"]).flatten()


def weights(net: Tensors, losses: torch.Tensor, normalise: bool) -> torch.Tensor:
    """What the losses are multiplied by before they are added: V(f_i) / sum V, or V(f_i) / n."""
    v = weighed(net, losses)
    if not normalise:
        return v / len(v)
    return v / v.sum() if v.sum() > 0 else v


@dataclass
class Adam:
    """Adam by its formula, with bias correction and an L2 penalty on weights."""

    lr: float = 1e-3
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    steps: int = 0
    first: Tensors = field(default_factory=dict)
    second: Tensors = field(default_factory=dict)

    def step(self, net: Tensors, gradient: Tensors) -> Tensors:
        """The net after one step."""
        self.steps += 1
        return {name: self._moved(name, net[name], gradient[name]) for name in net}

    def _moved(self, name: str, value: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        g = g + self.weight_decay * value if name in WEIGHTS else g
        b1, b2 = self.betas
        self.first[name] = b1 * self.first.get(name, torch.zeros_like(g)) + (1 - b1) * g
        self.second[name] = b2 * self.second.get(name, torch.zeros_like(g)) + (1 - b2) * g**2
        m, v = self.first[name] / (1 - b1**self.steps), self.second[name] / (1 - b2**self.steps)
        return value - self.lr * m / (v.sqrt() + self.eps)


@dataclass(frozen=True)
class Step:
    """meta_gradient: of the clean loss after the lookahead, in V's parameters; net: V after its step; gradient: of `loss` in theta."""

    meta_gradient: Tensors
    net: Tensors
    weights: torch.Tensor
    loss: torch.Tensor
    gradient: Tensors


def per_example(model: nn.Module, theta: Tensors, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropies, (n,), at other parameters, with batch norm in training mode. The model's running statistics stay."""
    scratch = copy.deepcopy(model).double().train()
    return F.cross_entropy(functional_call(scratch, theta, (images.double(),)), labels, reduction="none")


def parameters_of(model: nn.Module) -> Tensors:
    return {name: value.detach().double().clone().requires_grad_() for name, value in model.named_parameters()}


def meta_gradient(model: nn.Module, net: Tensors, train: Tensors, clean: Tensors, lr: float, normalise: bool) -> Tensors:
    """Of the clean loss at theta^ = theta - lr grad sum_i w_i f_i. V sees the losses as constants; its own parameters live.

    train, clean: "images" and "labels"
    """
    theta = parameters_of(model)
    net = {name: value.detach().clone().requires_grad_() for name, value in net.items()}
    f = per_example(model, theta, train["images"], train["labels"])
    weighted = (weights(net, f.detach(), normalise) * f).sum()
    inner = torch.autograd.grad(weighted, list(theta.values()), create_graph=True)
    lookahead = {name: theta[name] - lr * g for name, g in zip(theta, inner, strict=True)}
    outer = per_example(model, lookahead, clean["images"], clean["labels"]).mean()
    return dict(zip(net, torch.autograd.grad(outer, list(net.values())), strict=True))


def step(model: nn.Module, net: Tensors, optimiser: Adam, train: Tensors, clean: Tensors, lr: float, normalise: bool = True) -> Step:
    """One whole step up to the gradient of theta. `optimiser` moves."""
    found = meta_gradient(model, net, train, clean, lr, normalise)
    net = {name: value.detach() for name, value in optimiser.step(net, found).items()}
    theta = parameters_of(model)
    f = per_example(model, theta, train["images"], train["labels"])
    w = weights(net, f.detach(), normalise)
    loss = (w * f).sum()
    gradient = torch.autograd.grad(loss, list(theta.values()))
    return Step(found, net, w, loss.detach(), dict(zip(theta, gradient, strict=True)))
