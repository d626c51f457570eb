"""Early stopping by schedule (+ES)."""

from dataclasses import replace

from methods.base import Phase
from methods.registry import register
from methods.schedules import Schedules
from methods.wrapper import Wrapper


@register
class EarlyStopping(Wrapper):
    """Trains `base` on a shortened schedule, so it stops before it fits the wrong labels. The last step is the result.

    Source: the +ES rows of Ren et al., ICML 2018, section 4.2: 60,000 steps with decays at 40,000 and 50,000 instead of 80,000
    with decays at 40,000 and 60,000. Accuracy selects no checkpoint.
    """

    def phases(self, schedules: Schedules) -> list[Phase]:
        return super().phases(replace(schedules, main=schedules.early_stopping))
