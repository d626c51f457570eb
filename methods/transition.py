"""Transition matrices: the common part of methods that correct a loss, and the estimation of a matrix from noisy labels.

T[i, j] = p(given label j | true label i), (classes, classes), rows sum to 1.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Clock, Knowledge, MakeModel, Method, Phase, View
from methods.parts import evaluation_form
from methods.sampling import uniform
from methods.schedules import Schedules
from robust_benchmark.errors import choice, in_range

HELD_OUT = 0.1  # share of the training set that selects the estimating classifier


class Corrected(Method):
    """Trains on a loss that T corrects. T is given, or estimated by a phase of plain training, after which the classifier starts again.

    The estimating phase has the main schedule and omits a random tenth of the noisy training set. Of its classifiers after each epoch,
    the one with the lowest cross-entropy on that tenth estimates T from the whole training set, in evaluation form. The buffer `transition`
    is T, so the weights that `keep=[weights]` writes hold it.
    """

    transition: torch.Tensor
    held_out: torch.Tensor
    lowest: torch.Tensor

    def __init__(self, matrix: str = "estimated", percentile: float = 97.0) -> None:
        super().__init__()
        self.matrix = choice("matrix", matrix, ("estimated", "given"))
        self.percentile = in_range("percentile", percentile, 1e-6, 100)
        if matrix == "given":
            self.needs = Knowledge.TRANSITION_MATRIX

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("transition", torch.eye(view.num_classes))
        if self.matrix == "given":
            self.use(view.transition_matrix)
            return
        self.initial, self.best = (copy.deepcopy(self.model).requires_grad_(False) for _ in range(2))
        n = len(view.labels)
        self.register_buffer("held_out", torch.randperm(n, device=view.labels.device) < max(1, int(HELD_OUT * n)))
        self.register_buffer("lowest", torch.tensor(torch.inf))

    def phases(self, schedules: Schedules) -> list[Phase]:
        if self.matrix == "given":
            return [Phase("main", schedules.main, self.loss)]
        return [
            Phase("estimation", schedules.main, self.plain_loss, sample=self.sample, every_epoch=self.validate),
            Phase("main", schedules.main, self.loss, before=self.begin),
        ]

    def plain_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy on the given labels."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """An epoch without the held-out examples."""
        kept = torch.nonzero(~self.held_out).flatten()
        return kept[uniform(kept, size, generator)]

    @torch.no_grad()
    def validate(self, view: View, clock: Clock | None = None) -> None:
        """Store the classifier if its cross-entropy on the held-out examples is the lowest so far."""
        with evaluation_form(self.model):
            losses = [self._loss_held_out(batch) for batch in view.batches()]
        loss = torch.stack(losses).sum()
        if loss < self.lowest:
            self.lowest.copy_(loss)
            self.best.load_state_dict(self.model.state_dict())

    def _loss_held_out(self, batch: Batch) -> torch.Tensor:
        mine = self.held_out[batch.index]
        return F.cross_entropy(self.model(batch.images[mine]), batch.labels[mine], reduction="sum")

    @torch.no_grad()
    def begin(self, view: View) -> None:
        """Estimate T, and start again from the initial weights."""
        self.validate(view)
        self.use(self.estimate(predictions_of(self.best, view), view.labels))
        self.model.load_state_dict(self.initial.state_dict())

    def estimate(self, p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """T from predictions for the training set, (n, classes), and its given labels, (n,)."""
        return anchor_matrix(p, self.percentile)

    def use(self, T: torch.Tensor) -> None:
        """Use T for the correction."""
        self.transition.copy_(T)


@torch.no_grad()
def predictions_of(net: nn.Module, view: View) -> torch.Tensor:
    """Softmax for the training set, (n, classes), in evaluation form."""
    with evaluation_form(net):
        return torch.cat([F.softmax(single(net(batch.images)), dim=1) for batch in view.batches()])


def single(logits: torch.Tensor) -> torch.Tensor:
    """At least float32: half precision is too coarse for products of probabilities."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def forward_losses(logits: torch.Tensor, labels: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
    """-log sum_i p_i T[i, y], (n,). A zero in T counts as the smallest float, whose logarithm is finite."""
    log_T = T.clamp(min=torch.finfo(T.dtype).tiny).log()
    return -torch.logsumexp(F.log_softmax(single(logits), dim=1) + log_T.T[labels], dim=1)


def anchor_matrix(p: torch.Tensor, percentile: float = 97.0) -> torch.Tensor:
    """T from anchor points: row i is the prediction for the example that is most certainly of class i. p: (n, classes).

    That is the largest p_i below its percentile, so that outliers do not count; at 100, and where none is below, the largest of all.
    Source: Patrini et al., CVPR 2017, section 4.1, and its released code.
    """
    threshold = p.kthvalue(math.ceil(percentile / 100 * (len(p) - 1)) + 1, dim=0).values  # the percentile, or the next value above it
    below = p < threshold if percentile < 100 else torch.zeros_like(p, dtype=torch.bool)
    certainty = torch.where(below | ~below.any(dim=0), p, -1)
    T = p[certainty.argmax(dim=0)]
    return T / T.sum(dim=1, keepdim=True)


def confusion_shares(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Row l: the shares of the given labels among the examples predicted as l; e_l if there are none. p: (n, classes)."""
    K = p.shape[1]
    counts = torch.bincount(p.argmax(dim=1) * K + labels, minlength=K * K).view(K, K).to(p)
    total = counts.sum(dim=1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(K, dtype=p.dtype, device=p.device))
