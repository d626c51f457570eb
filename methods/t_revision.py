"""Importance weights from an estimated transition matrix, which is then revised with the classifier (T-Revision)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, Phase, Update, View, Weighted
from methods.registry import register
from methods.schedules import Optimiser, Schedule, Schedules
from methods.transition import Corrected, predictions_of, single
from robust_benchmark.errors import at_least

SMALLEST = 1e-7  # probability of a given label


@register
class TRevision(Corrected):
    """Weighs each example by the ratio of its label's probability under true and under noisy labels.

        loss = 1/n sum_i b_i CE_i,   b_i = p(y_i | x_i) / sum_k p(k | x_i) (T + D)[k, y_i], at least 0

    1. Plain training estimates T from anchor points, as in `forward`.   2. From the estimating weights, training continues with D = 0
    and the main schedule.   3. The classifier and D, K x K, are revised together by Adam at a small rate. p in b is a constant in both; D
    learns through b. An example is weighed by b_i / n. T and D are in the weights that `keep=[weights]` writes.

    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; the authors take 97, and on
        CIFAR-100 the largest of all (100)
    revision: steps of stage 3, as a share of the main schedule's, at least 0, on top of them
    lr: of Adam in stage 3, at least 0

    Needs: nothing beyond noisy labels. Source: Xia et al., "Are Anchor Points Really Indispensable in Label-Noise Learning?", NeurIPS 2019;
    percentile and Adam's 5e-7 of its released code, which has 20 epochs for stage 1 and 200 each for 2 and 3, and picks epochs of 2 and
    3 by held-out noisy labels; here the last steps count. In that code, one form of stage 3 adds D once more for each example, and the
    other gives D no gradient. Both are omitted.
    """

    def __init__(self, percentile: float = 97.0, revision: float = 1.0, lr: float = 5e-7) -> None:
        super().__init__(percentile=percentile)
        self.revision = at_least("revision", revision, 0)
        self.optimiser = Optimiser("adam", lr=at_least("lr", lr, 0))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.delta = nn.Parameter(torch.zeros(view.num_classes, view.num_classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        steps = round(self.revision * schedules.main.steps)
        revise = Update(self.revised_loss, ("model", "delta"), self.optimiser)
        return [*super().phases(schedules), Phase("revision", Schedule(steps), (revise,))]

    @torch.no_grad()
    def begin(self, view: View) -> None:
        """Estimate T, and continue from the weights that estimated it."""
        self.validate(view)
        self.use(self.estimate(predictions_of(self.best, view), view.labels))
        self.model.load_state_dict(self.best.state_dict())

    def loss(self, batch: Batch) -> Weighted:
        return self.weighed(batch, self.transition)

    def revised_loss(self, batch: Batch) -> Weighted:
        """The loss of stage 3, whose weights have a gradient for D."""
        return self.weighed(batch, self.transition + self.delta)

    def weighed(self, batch: Batch, T: torch.Tensor) -> Weighted:
        """The loss with the weights that T makes."""
        log_p = F.log_softmax(single(self.model(batch.images)), dim=1)
        p, losses = log_p.detach().exp(), F.nll_loss(log_p, batch.labels, reduction="none")
        given = (p * T.T[batch.labels]).sum(dim=1)  # (p T)_y
        weights = p.gather(1, batch.labels[:, None]).squeeze(1) / given.clamp(min=SMALLEST) / len(p)
        return Weighted((weights * losses).sum(), weights)
