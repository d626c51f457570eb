"""A method around a method: it trains and predicts as its base does, and changes only the phases."""

from dataclasses import replace

import torch

from methods.base import Knowledge, MakeModel, Method, Phase, View
from methods.schedules import Schedules


class Wrapper(Method):
    """Trains `base`. Subclasses override `phases`, which are all that the trainer knows, and add to its needs by `extra_needs`."""

    extra_needs: Knowledge = Knowledge.NONE

    def __init__(self, base: Method) -> None:
        super().__init__()
        self.base = base
        self.needs = base.needs | self.extra_needs

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.base.setup(make_model, replace(view, needs=self.base.needs))  # what the wrapper declares is not the base's

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [_of_wrapper(phase) for phase in self.base.phases(schedules)]

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.base.predict(images)


def _of_wrapper(phase: Phase) -> Phase:
    """A phase of the base, whose updates name their parts as the wrapper's."""
    updates = (replace(update, parts=tuple(f"base.{part}" for part in update.parts)) for update in phase.updates)
    return replace(phase, loss=tuple(updates))
