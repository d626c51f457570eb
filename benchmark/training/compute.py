"""Options of the device's arithmetic: precision, memory format, compilation, CUDA graphs. None of them changes the computed function."""

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

    precision: precision of forward passes: float32, or bf16, autocast to bfloat16 with float32 losses, parameter gradients and updates
    compile: torch.compile compiles the losses
    channels_last: memory format of the weights, and therefore of convolution outputs; by default on CPUs and for bf16, where it is fastest
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
        """Return the options with the choices of `device`. Raises UserError for a CUDA graph on another device.

        On CUDA, it also changes two settings of the process. Convolutions do not use TF32, so that float32 has the same precision on
        every device. They add in a fixed order, so that numbers repeat and the proof of a capture compares equal numbers.
        """
        on_cuda = device.type == "cuda"
        if on_cuda:
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
        if self.cuda_graphs and not on_cuda:
            raise UserError(f"cuda_graphs=true needs a CUDA device, and this one is '{device}'")
        return replace(
            self,
            channels_last=not on_cuda or self.precision == "bf16" if self.channels_last is None else self.channels_last,
            cuda_graphs=on_cuda if self.cuda_graphs is None else self.cuda_graphs,
        )

    def place(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Move the module to the device, in the memory format."""
        module.to(device)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context of forward passes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, loss: Objective) -> Objective:
        """Return `loss`, compiled by torch.compile if requested."""
        return torch.compile(loss) if self.compile else loss

    def uncompiled(self, draw: Callable[[int], Batch]) -> Callable[[int], Batch]:
        """Return `draw` in a form that compiled losses call without compiling it."""
        return torch.compiler.disable(draw) if self.compile else draw
