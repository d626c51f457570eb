"""The optimisers of the suite, created from the options of methods and trainer, and the clipping of gradients."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import nn
from torch.optim.adam import adam

from benchmark.training.sgd import SGD, Groups, InPlaceOptimiser
from methods.schedules import Optimiser
from robust_benchmark.errors import choice

EPSILON = 1e-8  # epsilon of Adam, as in the paper and in PyTorch


def make(spec: Optimiser, named_parameters: Iterable[tuple[str, nn.Parameter]], decayed_names: Collection[str]) -> InPlaceOptimiser:
    """Return the optimiser of these parameters, with weight decay on those in `decayed_names`; `step` receives the learning rate.

    Raises UserError for an unknown kind.
    """
    named, decays = list(named_parameters), ((True, spec.weight_decay), (False, 0.0))
    groups = [([p for name, p in named if (name in decayed_names) == is_decayed], decay) for is_decayed, decay in decays]
    if choice("optimiser", spec.kind, Optimiser.KINDS) == "sgd":
        return SGD(groups, spec.momentum, spec.nesterov)
    return Adam(groups, spec.betas, decoupled=spec.kind == "adamw")


class Adam(InPlaceOptimiser):
    """Adam (Kingma and Ba, ICLR 2015), and AdamW (Loshchilov and Hutter, ICLR 2019) if weight decay is `decoupled` from the gradient.

    It gives the numbers of `torch.optim.Adam` and `torch.optim.AdamW` with `fused=True` bit for bit. The fused kernel counts steps on the
    device.
    """

    def __init__(self, groups: Groups, betas: tuple[float, float], decoupled: bool = False) -> None:
        super().__init__(groups, _moments)
        self._betas = betas
        self._decoupled = decoupled

    def _update(self, parameters: list[torch.Tensor], gradients: list[torch.Tensor], weight_decay: float, lr: float | torch.Tensor) -> None:
        adam(
            parameters,
            gradients,
            [self._state[parameter]["exp_avg"] for parameter in parameters],
            [self._state[parameter]["exp_avg_sq"] for parameter in parameters],
            [],
            [self._state[parameter]["step"] for parameter in parameters],
            fused=True,
            decoupled_weight_decay=self._decoupled,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=EPSILON,
            maximize=False,
        )


def _moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    step = torch.zeros((), device=parameter.device)
    return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def clip(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """Scale the gradients so that their joint Euclidean norm is at most `max_norm`. Nothing waits for the device."""
    nn.utils.clip_grad_norm_(list(parameters), max_norm)
