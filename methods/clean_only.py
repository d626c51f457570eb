"""Training on the clean set alone: the value of the few trusted images on their own."""

from methods.base import Knowledge, Phase
from methods.baseline import Baseline
from methods.registry import register
from methods.schedules import Schedules


@register
class CleanOnly(Baseline):
    """Plain training, from scratch, on the clean set alone.

    Needs: the clean set. Source: the Clean Only baseline of Ren et al., ICML 2018, section 4.2; the schedule is the released code's.
    """

    needs = Knowledge.CLEAN_SET

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("clean only", schedules.clean_only, self.loss, source="clean")]
