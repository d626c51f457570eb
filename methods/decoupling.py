"""Two classifiers that train where they disagree (Decoupling)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Phase, Weighted, normalised
from methods.peers import Peers, disagree
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import in_range


@register
class Decoupling(Peers):
    """Each of two classifiers trains on the examples of a batch for which their predicted classes differ.

        loss = mean of CE_1 + CE_2 over { i : argmax p_1(x_i) != argmax p_2(x_i) };   0 if there are none

    In a warm-up, both train on everything. The classifiers have different initial weights and get the same batches. An example is
    weighed by the inverse of the number of disagreements if it is one. The first classifier predicts.

    warm_up: share of the schedule, in [0, 1]; 0.064 are 5,000 of 78,000 steps, the warm-up in later papers' code for CIFAR

    Needs: nothing beyond noisy labels. Source: Malach and Shalev-Shwartz, "Decoupling 'when to update' from 'how to update'", NeurIPS 2017.
    Its code can gather disagreements until they fill a batch; here a step takes those of its batch, however few. The disagreements
    also contain wrong labels, which the method does not remove.
    """

    def __init__(self, warm_up: float = 0.064) -> None:
        super().__init__()
        self.warm_up = in_range("warm_up", warm_up, 0, 1)

    def phases(self, schedules: Schedules) -> list[Phase]:
        main, end = schedules.main, round(self.warm_up * schedules.main.steps)
        return [Phase("warm-up", main.part(0, end), self.warm_up_loss), Phase("main", main.part(end, main.steps), self.loss)]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """The sum of both classifiers' mean cross-entropies."""
        first, second = self.logits(batch.images)
        return F.cross_entropy(first, batch.labels) + F.cross_entropy(second, batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        first, second = self.logits(batch.images)
        losses = [F.cross_entropy(logits, batch.labels, reduction="none") for logits in (first, second)]
        weights = normalised(disagree(first, second).to(losses[0].dtype))
        return Weighted((weights * (losses[0] + losses[1])).sum(), weights)
