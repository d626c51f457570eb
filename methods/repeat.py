"""A loss evaluated a second time, at other parameters, as if for the first time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call

from methods.base import Batch, Objective, Weighted

Value = torch.Tensor | Weighted
Again = Callable[[Mapping[str, torch.Tensor]], Value]


def repeatable(module: nn.Module, objective: Objective, batch: Batch) -> tuple[Value, Again]:
    """The objective's value, and a function that evaluates it at other parameters of `module`, given by name.

    The second evaluation meets what the first one met: the same random numbers of torch's default generators, clean minibatches and
    buffers. Buffers move once, by the first evaluation. Parameters that are not given keep their values; the gradient of a value with
    respect to the module's parameters goes through what was given.
    """
    drawn: list[Batch] = []

    def draw(size: int) -> Batch:
        drawn.append(batch.draw_clean(size))
        return drawn[-1]

    state = _State(module)
    value = objective(replace(batch, _draw_clean=draw))
    moved = _State(module)

    def again(parameters: Mapping[str, torch.Tensor]) -> Value:
        turns = iter(drawn)
        state.set_back()
        try:
            same = replace(batch, _draw_clean=lambda _: next(turns), shared={})
            call = _Call(module, objective)
            return functional_call(call, {f"module.{name}": value for name, value in parameters.items()}, (same,))
        finally:
            moved.set_back()

    return value, again


class _Call(nn.Module):
    """The objective as a module that holds `module`, so that torch can replace parameters of it."""

    def __init__(self, module: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.module = module
        self._objective = objective

    def forward(self, batch: Batch) -> Value:
        return self._objective(batch)


class _State:
    """The buffers of a module, and the states of torch's default generators on the CPU and on the buffers' CUDA devices."""

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        self._devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
        self._random = torch.get_rng_state()
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in self._devices}

    @torch.no_grad()
    def set_back(self) -> None:
        for buffer, value in self._buffers:
            buffer.copy_(value)
        torch.set_rng_state(self._random)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
