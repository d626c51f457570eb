"""Class-balanced minibatches."""

from methods.base import Phase
from methods.baseline import Baseline
from methods.registry import register
from methods.sampling import class_balanced
from methods.schedules import Schedules


@register
class Resample(Baseline):
    """Draws every minibatch with equal numbers of each label, so rare examples repeat.

    Source: the Resample baseline of Ren et al., ICML 2018, section 4.1.
    """

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, sample=class_balanced)]
