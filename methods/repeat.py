"""A second evaluation of a loss, at other parameters, with the state of the first one."""

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
    """Return the objective's value, and a function that evaluates it at other parameters of `module`, given by name.

    The second evaluation uses the same random numbers of torch's default generators, clean minibatches and buffers as the first. Only
    the first evaluation changes buffers. Parameters that are not given keep their values. The gradient of a value with respect to
    the module's parameters goes through the given parameters.
    """
    drawn: list[Batch] = []

    def draw(size: int) -> Batch:
        drawn.append(batch.draw_clean(size))
        return drawn[-1]

    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    random = _Random(module)
    value = objective(replace(batch, _draw_clean=draw))
    moved = _Random(module)

    def again(parameters: Mapping[str, torch.Tensor]) -> Value:
        turns = iter(drawn)
        same = replace(batch, _draw_clean=lambda _: next(turns), shared={})
        state = {name: buffer.clone() for name, buffer in buffers.items()}  # the evaluation changes them, then they are discarded
        replaced = {f"module.{name}": value for name, value in (state | dict(parameters)).items()}
        random.set_back()
        try:
            return functional_call(_Call(module, objective), replaced, (same,))
        finally:
            moved.set_back()

    return value, again


class _Call(nn.Module):
    """The objective as a module that contains `module`, so that torch can replace its parameters and buffers."""

    def __init__(self, module: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.module = module
        self._objective = objective

    def forward(self, batch: Batch) -> Value:
        return self._objective(batch)


class _Random:
    """The states of torch's default generators on the CPU and on the CUDA devices of a module's parameters."""

    def __init__(self, module: nn.Module) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in {p.device for p in module.parameters() if p.is_cuda}}

    def set_back(self) -> None:
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
