"""Stochastic gradient descent with momentum, by PyTorch's fused kernel, and the common base of all optimisers here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.sgd import sgd

Groups = Sequence[tuple[Sequence[nn.Parameter], float]]  # parameters, and their weight decay


class InPlaceOptimiser:
    """Updates the parameters that have a gradient; the others do not change.

    Its state is created at once and keeps its address, because a CUDA graph reads it. The classes of `torch.optim` create their state at
    the first step and replace it when they load another one; they also import TorchDynamo, which takes as long as importing torch.
    state: the tensors of a parameter's state, by name
    """

    def __init__(self, groups: Groups, state: Callable[[torch.Tensor], dict[str, torch.Tensor]]) -> None:
        self._groups = [(list[torch.Tensor](parameters), weight_decay) for parameters, weight_decay in groups]
        self._state: dict[torch.Tensor, dict[str, torch.Tensor]] = {
            parameter: state(parameter) for parameters, _ in groups for parameter in parameters
        }

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for parameter in self._state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | torch.Tensor) -> None:
        """Update every parameter that has a gradient. lr: a tensor without dimensions on the parameters' device."""
        for parameters, weight_decay in self._groups:
            trained = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
            self._update([parameter for parameter, _ in trained], [gradient for _, gradient in trained], weight_decay, lr)

    def _update(self, parameters: list[torch.Tensor], gradients: list[torch.Tensor], weight_decay: float, lr: float | torch.Tensor) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state itself, in the layout of `torch.optim`: tensors by name, by the number of their parameter."""
        return {"state": dict(enumerate(self._state.values()))}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load the result of `state_dict`, in place."""
        for number, tensors in enumerate(self._state.values()):
            for name, tensor in tensors.items():
                tensor.copy_(saved["state"][number][name])


class SGD(InPlaceOptimiser):
    """Momentum SGD: b <- momentum b + (grad + weight_decay w), w <- w - lr b; Nesterov's: w <- w - lr (grad + weight_decay w + momentum b).

    It gives the numbers of `torch.optim.SGD` with `fused=True` bit for bit.
    """

    def __init__(self, groups: Groups, momentum: float, nesterov: bool = False) -> None:
        super().__init__(groups, lambda parameter: {"momentum_buffer": torch.zeros_like(parameter)} if momentum else {})
        self._momentum = momentum
        self._nesterov = nesterov

    def _update(self, parameters: list[torch.Tensor], gradients: list[torch.Tensor], weight_decay: float, lr: float | torch.Tensor) -> None:
        sgd(
            parameters,
            gradients,
            [self._state[parameter].get("momentum_buffer") for parameter in parameters],
            fused=True,
            weight_decay=weight_decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
        )
