"""Importance weights from an estimated transition matrix, which is later revised together with the classifier (T-Revision)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, Phase, Update, View, Weighted
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Optimiser, Schedule, Schedules
from methods.transition import Corrected
from robust_benchmark.errors import at_least

SMALLEST = 1e-7  # probability of a given label


@register
class TRevision(Corrected):
    """Weights each example by the ratio of its label's probabilities as a true label and as a noisy label.

        loss = 1/n sum_i b_i CE_i,   b_i = p(y_i | x_i) / sum_k p(k | x_i) (T + D)[k, y_i]

    1. Plain training estimates T from anchor points, as in `forward`.   2. Training continues from the weights that estimated T, on the
    main schedule with D = 0.   3. Adam at a small rate trains the classifier and D, (K, K), together. The probabilities in b_i have no
    gradient; D learns through b_i. An example has the weight b_i / n. `keep=[weights]` writes T and D.

    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; the authors take 97, and on
        CIFAR-100 the largest of all (100)
    revision: additional steps of stage 3, as a share of the main schedule's steps, at least 0
    lr: learning rate of Adam in stage 3, at least 0

    Needs: nothing beyond noisy labels. Source: Xia et al., "Are Anchor Points Really Indispensable in Label-Noise Learning?", NeurIPS 2019;
    percentile and Adam's 5e-7 from its released code. That code has 20 epochs for stage 1 and 200 each for 2 and 3, and picks epochs of 2
    and 3 by held-out noisy labels; here the last steps count. Its stage 3 has two forms: one adds D once more for each example and also
    trains the classifier through b_i, the other gives D no gradient. Both differ from the formula, and neither is here.
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
        """Estimate T and continue from the weights that estimated it."""
        super().begin(view)
        self.model.load_state_dict(self.best.state_dict())

    def loss(self, batch: Batch) -> Weighted:
        return self.weighted(batch, self.transition)

    def revised_loss(self, batch: Batch) -> Weighted:
        """Return the loss of stage 3, in which D has a gradient."""
        return self.weighted(batch, self.transition + self.delta)

    def weighted(self, batch: Batch, T: torch.Tensor) -> Weighted:
        """Return the loss with the weights that follow from T."""
        log_p = log_probabilities(self.model(batch.images))
        p, losses = log_p.detach().exp(), F.nll_loss(log_p, batch.labels, reduction="none")
        given = (p * T.T[batch.labels]).sum(dim=1)  # (p T)_y
        weights = of_labels(p, batch.labels) / given.clamp(min=SMALLEST) / len(p)
        return Weighted((weights * losses).sum(), weights)
