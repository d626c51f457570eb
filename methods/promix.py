"""Training on the small losses of each class and on confidently predicted labels (the selection of ProMix)."""

import math

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted, normalised
from methods.mixture import losses_of
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import in_range


@register
class ProMix(Method):
    """Class-wise small losses and matched high confidence: the selection of ProMix, without its semi-supervised part.

        S: for each label, the max(1, ceil(rho N / K)) examples with the smallest losses, in evaluation form, at the start of each epoch
        loss = mean CE over the examples of the batch that are in S or have p(y_i | x_i) > tau;   0 if there are none

    An example of the mean has the weight 1 / (their number), the others 0. A warm-up is plain training.

    rho: maximum share of the training set in S, in [0, 1]; the authors have 0.7 at 20 % noise, otherwise 0.5
    tau: confidence, in [0, 1]; the authors have 0.99 for CIFAR-10 and 0.95 for CIFAR-100
    warm_up: share of the schedule, in [0, 1]; 1/60 is the authors' 10 of 600 epochs (30 on CIFAR-100)

    Needs: nothing beyond noisy labels; rho is a guess of the share of right labels. Source: Xiao et al., "ProMix: Combating Label Noise via
    Maximizing Clean Sample Utility", IJCAI 2023; options of the commands in its released code. Omitted: the second network, labels on
    which both networks agree, the second head and its pseudo-labels, logits shifted by class frequencies, the strong view, mixup, FMix,
    and the confidence penalty for asymmetric noise. The published numbers are those of the complete method.
    """

    selected: torch.Tensor

    def __init__(self, rho: float = 0.5, tau: float = 0.99, warm_up: float = 0.0167) -> None:
        super().__init__()
        self.rho, self.tau = in_range("rho", rho, 0, 1), in_range("tau", tau, 0, 1)
        self.warm_up = in_range("warm_up", warm_up, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("selected", torch.ones(len(view.labels), dtype=torch.bool))

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, self.loss, every_epoch=self.select)]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def select(self, view: View, clock: Clock) -> None:
        """Choose S."""
        quota = max(1, math.ceil(self.rho * len(view.labels) / view.num_classes - 1e-9))
        self.selected.copy_(smallest_of_each(losses_of(self.model, view), view.labels, quota))

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        chosen = self.selected[batch.index] | (torch.exp(-losses.detach()) > self.tau)
        weights = normalised(chosen.to(losses.dtype))
        return Weighted((weights * losses).sum(), weights)


def smallest_of_each(losses: torch.Tensor, labels: torch.Tensor, quota: int) -> torch.Tensor:
    """Return whether each loss, (n,), is among the `quota` smallest of its label, bool (n,); of equal losses the first count."""
    order = losses.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by label, then by loss
    count = torch.bincount(labels)
    place = torch.arange(len(labels), device=labels.device) - (count.cumsum(0) - count)[labels[order]]  # within the label
    return torch.empty_like(labels, dtype=torch.bool).scatter_(0, order, place < quota)
