"""Stochastic gradient descent with momentum, by PyTorch's fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.sgd import sgd

from methods.base import decayed_weights


class SGD:
    """Momentum SGD: b <- momentum b + (grad + weight_decay w), w <- w - lr b, for parameters in groups with a weight decay each.

    The numbers of `torch.optim.SGD` to the bit. That class imports TorchDynamo when it is made, which takes as long as importing torch.
    Parameters without a gradient stay as they are.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[nn.Parameter], float]], momentum: float) -> None:
        self._groups = [(list(parameters), weight_decay) for parameters, weight_decay in groups]
        self._momentum = momentum
        self._buffers = {p: torch.zeros_like(p) if momentum else None for parameters, _ in groups for p in parameters}

    @classmethod
    def of(cls, method: nn.Module, momentum: float, weight_decay: float) -> SGD:
        """All of the method's parameters, with weight decay on the weights of convolutions and linear layers alone."""
        decayed = set(decayed_weights(method))
        groups = [
            ([p for name, p in method.named_parameters() if (name in decayed) == is_decayed], decay)
            for is_decayed, decay in ((True, weight_decay), (False, 0.0))
        ]
        return cls(groups, momentum)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._buffers:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | torch.Tensor) -> None:
        """Update every parameter that has a gradient. lr: a tensor has no dimensions and lies on the parameters' device."""
        for parameters, weight_decay in self._groups:
            trained = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
            sgd(
                [parameter for parameter, _ in trained],
                [gradient for _, gradient in trained],
                [self._buffers[parameter] for parameter, _ in trained],
                fused=True,
                weight_decay=weight_decay,
                momentum=self._momentum,
                lr=lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """The momentum buffers, laid out as by `torch.optim`."""
        return {"state": {number: {"momentum_buffer": buffer} for number, buffer in self._numbered()}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for number, buffer in self._numbered():
            buffer.copy_(saved["state"][number]["momentum_buffer"])

    def _numbered(self) -> list[tuple[int, torch.Tensor]]:
        return [(number, buffer) for number, buffer in enumerate(self._buffers.values()) if buffer is not None]
