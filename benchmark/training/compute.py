"""How the device computes: precision, memory format, compilation, CUDA graphs. None of it changes what is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from datasets.errors import choice
from methods.base import Batch, Method

PRECISIONS = ("float32", "bf16")
Loss = Callable[[Batch], torch.Tensor]


@dataclass(frozen=True)
class Compute:
    """The options of a trial's arithmetic; None leaves the choice to the device.

    precision: of forward passes: float32, or bf16, autocast to bfloat16 with losses, gradients of parameters and updates in float32
    compile: losses go through torch.compile
    channels_last: memory format of the weights, and so of what convolutions make; by default on CPUs, where it is fastest
    cuda_graphs: steps are captured and replayed; by default on CUDA

    Raises UserError for another precision.
    """

    precision: str = "float32"
    compile: bool = False
    channels_last: bool | None = None
    cuda_graphs: bool | None = None

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)

    def place(self, method: Method, device: torch.device) -> Method:
        """The method on the device, in the memory format."""
        channels_last = device.type == "cpu" if self.channels_last is None else self.channels_last
        method.to(device)
        return method.to(memory_format=torch.channels_last) if channels_last else method

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of forward passes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, loss: Loss) -> Loss:
        """`loss`, by way of torch.compile where that is asked for."""
        return torch.compile(loss) if self.compile else loss

    def captures(self, device: torch.device) -> bool:
        """Whether steps on `device` go into a CUDA graph."""
        return device.type == "cuda" and self.cuda_graphs is not False
