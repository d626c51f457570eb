"""Two classifiers that train where they disagree (Decoupling)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Phase, Weighted, normalised
from methods.peers import Peers, disagree
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import in_range


@register
class Decoupling(Peers):
    """Each of two classifiers trains on the examples of a batch for which their predicted classes differ.

        loss = mean of CE_1 + CE_2 over { i : argmax p_1(x_i) != argmax p_2(x_i) };   0 where there are none

    In a warm-up, both train on all examples. The classifiers have different initial weights and see the same batches. An example of the
    mean has the weight 1 / (their number), the others 0. The first classifier predicts.

    warm_up: share of the schedule, in [0, 1]; 0.064 is 5,000 of 78,000 steps, the warm-up in the code of later papers for CIFAR

    Needs: nothing beyond noisy labels. Source: Malach and Shalev-Shwartz, "Decoupling 'when to update' from 'how to update'", NeurIPS 2017.
    Its code can collect disagreements until they fill a batch; here a step uses those of its own batch, even if there are few. The method
    does not exclude wrong labels from the disagreements.
    """

    def __init__(self, warm_up: float = 0.064) -> None:
        super().__init__()
        self.warm_up = in_range("warm_up", warm_up, 0, 1)

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, self.loss)]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of both classifiers' mean cross-entropies."""
        first, second = self.logits(batch.images)
        return F.cross_entropy(first, batch.labels) + F.cross_entropy(second, batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        first, second = self.logits(batch.images)
        losses = [F.cross_entropy(logits, batch.labels, reduction="none") for logits in (first, second)]
        weights = normalised(disagree(first, second).to(losses[0].dtype))
        return Weighted((weights * (losses[0] + losses[1])).sum(), weights)
