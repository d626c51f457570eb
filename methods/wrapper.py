"""A method around a method: it trains and predicts as its base does, and changes only the phases."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from methods.base import Batch, Knowledge, Method, Phase, Schedules, View


class Wrapper(Method):
    """Delegates everything to `base`. Subclasses override `phases`, and add to what the base needs by `extra_needs`."""

    extra_needs: Knowledge = Knowledge.NONE

    def __init__(self, base: Method) -> None:
        super().__init__()
        self.base = base
        self.needs = base.needs | self.extra_needs

    @property
    def example_weights(self) -> torch.Tensor | None:  # type: ignore[override]
        return self.base.example_weights

    def setup(self, make_model: Callable[[], nn.Module], view: View) -> None:
        self.base.setup(make_model, replace(view, needs=self.base.needs))  # what the wrapper declares is not the base's

    def phases(self, schedules: Schedules) -> list[Phase]:
        return self.base.phases(schedules)

    def batch_size(self, default: int) -> int:
        return self.base.batch_size(default)

    def batches(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        return self.base.batches(labels, size, generator)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.base.loss(batch)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.base.predict(images)
