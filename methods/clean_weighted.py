"""Plain training on noisy and clean labels, with a larger weight for clean ones: a baseline for methods with a clean set."""

import torch
import torch.nn.functional as F

from datasets.task import Examples
from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View, normalised
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import at_least


@register
class CleanWeighted(Method):
    """Mean cross-entropy on the noisy training set and the clean set, in which a clean example counts as `weight` noisy ones.

        loss = sum_i w_i CE_i / sum_i w_i,   w_i = weight for clean examples, 1 for noisy ones

    The clean images join the training set, so a batch holds them in their share of all images, and the sums run over the batch. Methods
    that use a clean set should do better than this; papers rarely show it.

    weight: of a clean example, at least 0; 0 is plain training, and 1 the union of both sets

    Needs: the clean set. This suite's baseline, and its choice of 10.
    """

    needs = Knowledge.CLEAN_SET

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = at_least("weight", weight, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.noisy = len(view.labels)

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, before=self.join)]

    def join(self, view: View) -> Examples:
        """The clean set, which joins the training set."""
        return view.clean_set

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        return (normalised(torch.where(batch.index >= self.noisy, self.weight, 1.0)) * losses).sum()
