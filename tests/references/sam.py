"""SAM (Foret et al., ICLR 2021) and ASAM (Kwon et al., ICML 2021): the gradient at the perturbed parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tests.references import Array

Loss = Callable[[list[torch.Tensor]], torch.Tensor]


def plain_gradient(loss: Loss, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of `loss` at copies of the parameters; zero for a parameter that the loss does not reach."""
    copies = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    found = torch.autograd.grad(loss(copies), copies, allow_unused=True)
    return [torch.zeros_like(copy) if g is None else g for copy, g in zip(copies, found, strict=True)]


def perturbation(parameters: list[torch.Tensor], gradient: list[torch.Tensor], rho: float, adaptive: bool = False) -> list[torch.Tensor]:
    """e = rho g / ||g||; adaptive: rho s^2 g / ||s g|| with s = |theta|. One norm over all parameters."""
    s = [parameter.detach().abs() if adaptive else torch.ones_like(parameter) for parameter in parameters]
    norm = sum(float((a * g).square().sum()) for a, g in zip(s, gradient, strict=True)) ** 0.5 + 1e-12
    return [rho * a * a * g / norm for a, g in zip(s, gradient, strict=True)]


def gradient(loss: Loss, parameters: list[torch.Tensor], rho: float, adaptive: bool = False) -> list[torch.Tensor]:
    """Of `loss` at theta + e."""
    e = perturbation(parameters, plain_gradient(loss, parameters), rho, adaptive)
    return plain_gradient(loss, [parameter.detach() + each for parameter, each in zip(parameters, e, strict=True)])


def quadratic_gradient(H: Array, theta: Array, rho: float) -> Array:
    """SAM's gradient of theta' H theta / 2: H (theta + rho H theta / ||H theta||)."""
    g = H @ theta
    return H @ (theta + rho * g / np.linalg.norm(g))


def adaptive_quadratic_gradient(H: Array, theta: Array, rho: float) -> Array:
    """ASAM's of the same."""
    g, s = H @ theta, np.abs(theta)
    return H @ (theta + rho * s**2 * g / np.linalg.norm(s * g))
