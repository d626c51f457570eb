"""How the device computes: precision, memory format, compilation, CUDA graphs. None of it changes what is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from methods.base import Batch, Objective
from robust_benchmark.errors import UserError, choice

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Compute:
    """The options of a trial's arithmetic; None leaves the choice to the device (see `on`).

    precision: of forward passes: float32, or bf16, autocast to bfloat16 with losses, gradients of parameters and updates in float32
    compile: losses go through torch.compile
    channels_last: memory format of the weights, and so of what convolutions make; by default on CPUs, where it is fastest
    cuda_graphs: steps are captured, proved and replayed (see benchmark.training.proof); by default on CUDA

    Raises UserError for another precision.
    """

    precision: str = "float32"
    compile: bool = False
    channels_last: bool | None = None
    cuda_graphs: bool | None = None

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)

    def on(self, device: torch.device) -> Compute:
        """With the choices left to `device` made. Raises UserError for a CUDA graph on another one."""
        on_cuda = device.type == "cuda"
        if self.cuda_graphs and not on_cuda:
            raise UserError(f"cuda_graphs=true needs a CUDA device, and this one is '{device}'")
        return replace(
            self,
            channels_last=not on_cuda if self.channels_last is None else self.channels_last,
            cuda_graphs=on_cuda if self.cuda_graphs is None else self.cuda_graphs,
        )

    def place(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module on the device, in the memory format."""
        module.to(device)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of forward passes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, loss: Objective) -> Objective:
        """`loss`, by way of torch.compile where that is asked for."""
        return torch.compile(loss) if self.compile else loss

    def uncompiled(self, draw: Callable[[int], Batch]) -> Callable[[int], Batch]:
        """`draw`, which losses that are compiled call as it is."""
        return torch.compiler.disable(draw) if self.compile else draw
