"""Sharpness-aware minimisation around any method (SAM)."""

from __future__ import annotations

import torch

from methods.base import Batch, Method, Objective, Phase, scalar
from methods.registry import register
from methods.repeat import Value, repeatable
from methods.schedules import Schedules
from methods.wrapper import Wrapper
from robust_benchmark.errors import at_least


@register
class SAM(Wrapper):
    """Trains `base` with its gradient at the worst nearby point, which gives flat minima and delays memorising wrong labels.

        e = rho g / (||g|| + 1e-12),  g = grad L(theta);  the optimiser updates with the gradient of L at theta + e
        adaptive (ASAM): e = rho s^2 g / (||s g|| + 1e-12),  s = |theta| elementwise

    Norms cover all parameters that the update trains. L(theta + e) uses the same images, random numbers and clean images as L(theta).
    Only the pass at theta changes the state of the base (batch norm's averages, per-example state). The recorded loss and the example
    weights are those at theta + e. The optimiser applies weight decay at theta; g excludes it. Updates of the base with their own
    `parts` do not change. A step costs two steps of the base.

    rho: the radius, at least 0, of ||e|| (of ||e / s|| if adaptive)
    adaptive: the radius is relative to the size of each parameter (ASAM)

    Source: Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021;
    its rho for CIFAR is 0.05, and 0.1 for wrong labels (0.05 at 80 %). Kwon et al., "ASAM", ICML 2021, whose rho is about ten times
    larger; there s is |theta| + 0.01 for weights and 1 for biases. The paper's code includes weight decay in g and clips the last gradient.
    """

    def __init__(self, base: Method, rho: float = 0.05, adaptive: bool = False) -> None:
        super().__init__(base)
        self.rho = at_least("rho", rho, 0)
        self.adaptive = adaptive

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [phase.mapped(self._at_the_worst_point) for phase in super().phases(schedules)]

    def _at_the_worst_point(self, objective: Objective) -> Objective:
        def perturbed(batch: Batch) -> Value:
            value, again = repeatable(self.base, objective, batch)
            parameters = {name: parameter for name, parameter in self.base.named_parameters() if parameter.requires_grad}
            gradients = torch.autograd.grad(scalar(value), list(parameters.values()), allow_unused=True)
            trained = {name: gradient for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
            step = self._step(parameters, trained)
            return again({name: parameters[name].clone().add_(step[name]) for name in step})  # in place: keeps the memory layout

        return perturbed

    @torch.no_grad()
    def _step(self, parameters: dict[str, torch.nn.Parameter], gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return e, by the names of the gradients."""
        scales = {name: parameters[name].abs() if self.adaptive else 1.0 for name in gradients}
        scaled = {name: scales[name] * gradient for name, gradient in gradients.items()}
        norm = torch.stack([gradient.norm() for gradient in scaled.values()]).norm()
        return {name: self.rho * scales[name] * gradient / (norm + 1e-12) for name, gradient in scaled.items()}
