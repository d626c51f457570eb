"""Bootstrapping by a beta mixture: the target of a label that is probably wrong contains more of the prediction (M-DYR)."""

import math

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.beta_mixture import BetaMixture
from methods.mixture import losses_of
from methods.parts import evaluation_form
from methods.registry import register
from methods.schedules import Schedules
from methods.semi_supervised import mixed
from methods.transition import single
from robust_benchmark.errors import at_least, in_range


@register
class MDYR(Method):
    """Mixup of targets that replace a label by the prediction as far as the label's loss says that it is wrong.

        t_i = (1 - B_i) y_i + B_i z_i,   B_i: probability that label i is wrong, given its loss (`methods.beta_mixture`)
        z_i = one-hot argmax p_i (hard), or p_i itself (soft)
        loss = mean CE of mixed images' predictions h against mixed t + sum_k 1/K log( (1/K) / mean h_k )

    The mixture is fitted at the beginning of each epoch to the losses of all training examples, in evaluation form. z and B come from one
    forward pass of the images as they are, without a gradient, in evaluation form; the authors take z from a further one in training form.
    A warm-up has y for t and no second term. The last term, on mixed predictions, keeps all from becoming one class. An example is
    weighed by (1 - B) / n.

    warm_up: share of the schedule, in [0, 1]; 0.35 are the authors' 105 of 300 epochs
    soft: z is the prediction itself
    alpha: of mixup's beta distribution, one share for a batch, above 0
    balance: weight of the last term, at least 0

    Needs: nothing beyond noisy labels. Source: Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019 (M-DYR-H;
    conf/method/mdyr_soft.yaml has M-DYR-S); defaults of its released code. Its variant for 80 % noise and above (MD-DYR-SH) is not here.
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
        main, end = schedules.main, round(self.warm_up * schedules.main.steps)
        return [
            Phase("warm-up", main.part(0, end), self.warm_up_loss),
            Phase("main", main.part(end, main.steps), self.loss, every_epoch=self.judge),
        ]

    def judge(self, view: View, clock: Clock) -> None:
        """Fit the mixture."""
        self.mixture.fit(losses_of(self.model, view))

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Plain mixup."""
        given = F.one_hot(batch.labels, self.classes).to(batch.images)
        images, targets = mixed(batch.images, given, self.alpha)
        return F.cross_entropy(self.model(images), targets)

    def loss(self, batch: Batch) -> Weighted:
        with torch.no_grad(), evaluation_form(self.model):
            logits = single(self.model(batch.images))
        wrong = self.mixture(F.cross_entropy(logits, batch.labels, reduction="none"))
        images, targets = mixed(batch.images, self.targets(logits, batch.labels, wrong), self.alpha)
        log_h = F.log_softmax(single(self.model(images)), dim=1)
        loss = F.cross_entropy(log_h, targets) + self.balance * imbalance(log_h)
        return Weighted(loss, (1 - wrong) / len(wrong))

    def targets(self, logits: torch.Tensor, labels: torch.Tensor, wrong: torch.Tensor) -> torch.Tensor:
        """t, (n, classes), from logits of the images as they are, given labels, and the probability that these are wrong, (n,)."""
        classes = logits.shape[1]
        z = logits.softmax(dim=1) if self.soft else F.one_hot(logits.argmax(dim=1), classes)
        return torch.lerp(F.one_hot(labels, classes).to(logits), z.to(logits), wrong[:, None])


def imbalance(log_p: torch.Tensor) -> torch.Tensor:
    """KL(uniform || mean prediction), of log-predictions, (n, classes)."""
    return -(log_p.logsumexp(dim=0) - math.log(len(log_p) / log_p.shape[1])).mean()
