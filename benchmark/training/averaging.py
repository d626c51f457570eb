"""Exponential moving averages of a method's parameters, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """a <- decay a + (1 - decay) w for each parameter w of `method`, starting at the current parameters.

    Buffers are not averaged: an evaluation with averaged parameters uses the batch-norm averages of training. The method's parameters must
    stay the same tensors.
    """

    def __init__(self, method: nn.Module, decay: float) -> None:
        self._parameters = dict(method.named_parameters())
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._average = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Include the parameters after a step; all work stays on the device."""
        self._average(list(self._averages.values()), list(self._parameters.values()), None)

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """Context in which parameters may be replaced, as when a method resets a layer; their averages then restart at the new values."""
        before = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        yield
        for name, parameter in self._parameters.items():
            if not torch.equal(parameter, before[name]):
                self._averages[name].copy_(parameter.detach())

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Context in which the method has the averaged parameters, at the same addresses; afterwards the original ones, bit for bit."""
        trained = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._set(self._averages)
        try:
            yield
        finally:
            self._set(trained)

    @torch.no_grad()
    def _set(self, values: dict[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, torch.Tensor]:
        """Return the averages, by the names of the parameters."""
        return self._averages

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Load the result of `state`, in place."""
        for name, average in self._averages.items():
            average.copy_(saved[name])
