"""Fine-tuning on the clean set after any method (+FT)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, Phase
from methods.registry import register
from methods.schedules import Schedules
from methods.wrapper import Wrapper


@register
class FineTune(Wrapper):
    """Trains `base`, then its classifier on the clean set alone, with the mean cross-entropy of its predictions.

    Weights, batch-norm averages and momentum carry over. If the base has a noise layer, fine-tuning bypasses it, because the
    clean labels are true labels.

    Needs: the clean set. Source: the +FT rows of Ren et al., ICML 2018, section 4.2 (5,000 steps at the schedule's last
    learning rate, as in the released code).
    """

    extra_needs = Knowledge.CLEAN_SET

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [*super().phases(schedules), Phase("fine-tuning", schedules.finetune, self._clean_loss, source="clean")]

    def _clean_loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.predict(batch.images), batch.labels)
