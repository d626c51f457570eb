"""A method around another method: it trains and predicts like its base, and changes only the phases."""

from dataclasses import replace

import torch

from methods.base import Knowledge, MakeModel, Method, Phase, Update, View
from methods.schedules import Schedules


class Wrapper(Method):
    """Trains `base`. Subclasses override `phases`, the only part that the trainer sees, and extend its needs by `extra_needs`.

    base: the wrapped method, by its name, or {name: reed, beta: 0.5}
    """

    extra_needs: Knowledge = Knowledge.NONE

    def __init__(self, base: Method) -> None:
        super().__init__()
        self.base = base
        self.needs = base.needs | self.extra_needs

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.base.setup(make_model, self._of_base(view))

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [self._of_wrapper(phase) for phase in self.base.phases(schedules)]

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.base.predict(images)

    def _of_wrapper(self, phase: Phase) -> Phase:
        """Return a phase of the base. Its updates name their parts as the wrapper's, and it sees only what the base declares."""
        phase.check_source(self.base.needs)
        before, every_epoch = phase.before, phase.every_epoch
        return replace(
            phase,
            loss=tuple(self._update_of_wrapper(update) for update in phase.updates),
            before=before and (lambda view: before(self._of_base(view))),
            every_epoch=every_epoch and (lambda view, clock: every_epoch(self._of_base(view), clock)),
        )

    def _update_of_wrapper(self, update: Update) -> Update:
        objective, parts = update.objective, tuple(f"base.{part}" for part in update.parts)
        if Knowledge.CLEAN_SET not in self.base.needs and Knowledge.CLEAN_SET in self.needs:
            return replace(update, objective=lambda batch: objective(replace(batch, _draw_clean=None)), parts=parts)
        return replace(update, parts=parts)

    def _of_base(self, view: View) -> View:
        """Return the base's view: declarations of the wrapper do not apply to the base."""
        return replace(view, needs=self.base.needs)
