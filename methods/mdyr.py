"""Bootstrapping by a beta mixture: the higher the loss of a label, the more its target follows the prediction (M-DYR)."""

import math

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.beta_mixture import BetaMixture
from methods.mixture import losses_of
from methods.parts import evaluation_form
from methods.probabilities import log_probabilities, single
from methods.registry import register
from methods.schedules import Schedules
from methods.semi_supervised import mixed
from methods.shares import split
from robust_benchmark.errors import at_least, in_range


@register
class MDYR(Method):
    """Mixup with targets between label and prediction, according to the probability that the label is wrong.

        t_i = (1 - B_i) y_i + B_i z_i,   B_i: probability that label i is wrong, given its loss (`methods.beta_mixture`)
        z_i = one-hot argmax p_i (hard), or p_i itself (soft)
        loss = mean CE of mixed images' predictions h against mixed t + sum_k 1/K log( (1/K) / mean h_k )

    The mixture is fitted at the start of each epoch to the losses of all training examples, in evaluation form. One forward pass of the
    unmixed images, in evaluation form without gradients, gives z and B; the authors take z from another pass in training form. The last
    term prevents that all predictions become one class. In a warm-up, t = y and the last term is absent. The example weight is (1 - B) / n.

    warm_up: share of the schedule, in [0, 1]; 0.35 is the authors' 105 of 300 epochs
    soft: z is the prediction itself
    alpha: of mixup, above 0; a batch has one share
    balance: weight of the last term, at least 0

    Needs: nothing beyond noisy labels. Source: Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019 (M-DYR-H;
    conf/method/mdyr_soft.yaml has M-DYR-S); defaults from the commands of its released code. Its variant for 80 % noise and above
    (MD-DYR-SH) is not included.
    """

    def __init__(self, warm_up: float = 0.35, soft: bool = False, alpha: float = 32.0, balance: float = 1.0) -> None:
        super().__init__()
        self.warm_up, self.soft = in_range("warm_up", warm_up, 0, 1), soft
        self.alpha, self.balance = at_least("alpha", alpha, 1e-6), at_least("balance", balance, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.mixture = BetaMixture()
        self.classes = view.num_classes

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, self.loss, every_epoch=self.judge)]

    def judge(self, view: View, clock: Clock) -> None:
        """Fit the mixture."""
        self.mixture.fit(losses_of(self.model, view))

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of plain mixup."""
        given = F.one_hot(batch.labels, self.classes).to(batch.images)
        images, targets = mixed(batch.images, given, self.alpha)
        return F.cross_entropy(self.model(images), targets)

    def loss(self, batch: Batch) -> Weighted:
        with torch.no_grad(), evaluation_form(self.model):
            logits = single(self.model(batch.images))
        wrong = self.mixture(F.cross_entropy(logits, batch.labels, reduction="none"))
        images, targets = mixed(batch.images, self.targets(logits, batch.labels, wrong), self.alpha)
        log_h = log_probabilities(self.model(images))
        loss = F.cross_entropy(log_h, targets) + self.balance * imbalance(log_h)
        return Weighted(loss, (1 - wrong) / len(wrong))

    def targets(self, logits: torch.Tensor, labels: torch.Tensor, wrong: torch.Tensor) -> torch.Tensor:
        """Return t, (n, classes), from logits of the unmixed images, labels, and the probability that a label is wrong, (n,)."""
        classes = logits.shape[1]
        z = logits.softmax(dim=1) if self.soft else F.one_hot(logits.argmax(dim=1), classes)
        return torch.lerp(F.one_hot(labels, classes).to(logits), z.to(logits), wrong[:, None])


def imbalance(log_p: torch.Tensor) -> torch.Tensor:
    """Return KL(uniform || mean prediction) of log-predictions, (n, classes)."""
    return -(log_p.logsumexp(dim=0) - math.log(len(log_p) / log_p.shape[1])).mean()
