"""Boosting: each classifier trains with larger weights for the examples that earlier ones got wrong (SAMME)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised, weighted_cross_entropy
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import whole

SMALLEST, MARGIN = 1e-10, 1e-6  # least weighted error of a classifier, and its least distance from that of chance


@register
class SAMME(Method):
    """Multi-class AdaBoost. In each round, a new classifier trains on the whole schedule, and the weighted errors decide its vote.

        loss = sum_i w_i CE_i / sum_i w_i over the batch,   w_i = 1/N in the first round
        e = sum_i w_i [h(x_i) != y_i],   a = log((1 - e) / e) + log(K - 1);   then w_i <- w_i exp(a [h(x_i) != y_i]), scaled to sum to 1
        prediction: logits sum_t a_t [h_t(x) = k] of the rounds t so far, whose softmax is the class probability of the method's model

    h(x_i) is the prediction for example i at its last visit of the round, so e costs no pass over the data; examples without a visit
    count as wrong. e is clipped to [1e-10, 1 - 1/K - 1e-6], so a classifier that is no better than chance has almost no vote. The example
    weight is w_i over the batch's sum.

    rounds: number of classifiers, at least 1; the cost is as many trainings

    Needs: nothing beyond noisy labels; stores two numbers per example. Weights grow for examples that are hard, so also for wrong labels.
    Source: Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", Statistics and Its Interface 2009 (the formula is not verified against
    the paper; two classes give AdaBoost). Errors at the last visit and the default of `rounds` are choices of this suite.
    """

    weights: torch.Tensor
    wrong: torch.Tensor
    votes: torch.Tensor

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = whole("rounds", rounds, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.later = nn.ModuleList(make_model() for _ in range(self.rounds - 1))
        self.num_classes, n = view.num_classes, len(view.labels)
        self.register_buffer("weights", torch.full((n,), 1 / n))
        self.register_buffer("wrong", torch.ones(n))
        self.register_buffer("votes", torch.zeros(self.rounds))

    @property
    def classifiers(self) -> list[nn.Module]:
        """The classifiers by round."""
        return [self.model, *self.later]

    def phases(self, schedules: Schedules) -> list[Phase]:
        def of_round(t: int) -> Phase:
            return Phase(f"round {t + 1}", schedules.main, partial(self.loss_of, t), before=partial(self.reweight, t - 1) if t else None)

        return [of_round(t) for t in range(self.rounds)]

    def loss_of(self, t: int, batch: Batch) -> Weighted:
        """Return the loss of the classifier of round t, counted from 0, and update its vote."""
        logits = self.classifiers[t](batch.images)
        self.wrong[batch.index] = (logits.detach().argmax(dim=1) != batch.labels).to(self.wrong)
        self.votes[t] = vote((self.weights * self.wrong).sum(), self.num_classes)
        return weighted_cross_entropy(logits, batch.labels, normalised(self.weights[batch.index]))

    def reweight(self, t: int, view: View) -> None:
        """Increase the weights of the examples that the classifier of round t got wrong."""
        self.weights.copy_(normalised(self.weights * (self.votes[t] * self.wrong).exp()))
        self.wrong.fill_(1)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        choices = torch.stack([F.one_hot(net(images).argmax(dim=1), self.num_classes) for net in self.classifiers])
        return torch.einsum("t,tnk->nk", self.votes, choices.to(self.votes))


def vote(error: torch.Tensor, classes: int) -> torch.Tensor:
    """Return a, a scalar, of the weighted error e."""
    e = error.clamp(SMALLEST, 1 - 1 / classes - MARGIN)
    return ((1 - e) / e).log() + math.log(classes - 1)
