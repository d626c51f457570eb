"""Exponential moving averages of a method's parameters, to evaluate with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """a <- decay a + (1 - decay) w for each parameter w of `method`, from the parameters as they are now.

    Buffers are not averaged: an evaluation with averaged parameters uses the batch-norm averages of training. The method's parameters must
    stay the same tensors.
    """

    def __init__(self, method: nn.Module, decay: float) -> None:
        self._parameters = dict(method.named_parameters())
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._average = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Take in the parameters after a step; work for the device alone."""
        self._average(list(self._averages.values()), list(self._parameters.values()), None)

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """Averages of parameters that change within it, as when a method sets a layer back, begin again with what they are after it."""
        before = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        yield
        for name, parameter in self._parameters.items():
            if not torch.equal(parameter, before[name]):
                self._averages[name].copy_(parameter.detach())

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within it the method has the averaged parameters, at the same addresses; after it those from before, bit for bit."""
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
        """The averages themselves, by the names of the parameters."""
        return self._averages

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Take over what `state` gave, in place."""
        for name, average in self._averages.items():
            average.copy_(saved[name])
