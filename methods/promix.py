"""Training on examples with small losses within each class and on confident labels (the core of ProMix)."""

import math

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted, normalised
from methods.mixture import losses_of
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import in_range


@register
class ProMix(Method):
    """The selection of ProMix: class-wise small losses and matched high confidence, without its semi-supervised part.

        S, chosen at the beginning of each epoch: of each label, the ceil(rho N / K) examples with the smallest losses, in evaluation form
        loss = mean CE over S and { i : p(y_i | x_i) > tau }, of the batch;   0 if there are none

    An example is weighed by the inverse of their number if it is one of them. A warm-up trains on everything.

    rho: share of the training set in S at most, in [0, 1]; 0.5 is the authors', but for 0.7 at 20 % noise
    tau: confidence, in [0, 1]; 0.99 is the authors' for CIFAR-10, 0.95 for CIFAR-100
    warm_up: share of the schedule, in [0, 1]; 1/60 are the authors' 10 of 600 epochs (30 on CIFAR-100)

    Needs: nothing beyond noisy labels; rho replaces an estimate of the noise rate. Source: Xiao et al., "ProMix: Combating Label Noise via
    Maximizing Clean Sample Utility", IJCAI 2023, and its released code. Omitted: the second network, labels on which both agree, the
    second head and its pseudo-labels, logits that are shifted by the classes' frequencies, the strong view, mixup and FMix. The
    published numbers are those of the complete method.
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
        main, end = schedules.main, round(self.warm_up * schedules.main.steps)
        return [
            Phase("warm-up", main.part(0, end), self.warm_up_loss),
            Phase("main", main.part(end, main.steps), self.loss, every_epoch=self.select),
        ]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy."""
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
    """Which losses, (n,), are among the `quota` smallest of their label, of equal ones the first, bool (n,)."""
    order = losses.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by label, then by loss
    count = torch.bincount(labels)
    place = torch.arange(len(labels), device=labels.device) - (count.cumsum(0) - count)[labels[order]]  # within the label
    return torch.empty_like(labels, dtype=torch.bool).scatter_(0, order, place < quota)
