"""Transition matrices: the base class of methods that correct a loss by one, and its estimates from noisy labels alone.

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
from methods.probabilities import log_probabilities, single
from methods.sampling import uniform
from methods.schedules import Schedules
from robust_benchmark.errors import choice, in_range

HELD_OUT = 0.1  # share of the training set that chooses the epoch whose classifier estimates T


class Corrected(Method):
    """Trains on a loss that T corrects. T is given, or a first phase estimates it and the classifier starts again.

    The first phase is plain training on the main schedule, without a random tenth of the noisy training set. After each epoch, the
    classifier is evaluated on that tenth. The one with the lowest cross-entropy predicts the whole training set, in evaluation form, and T
    is estimated from these predictions. T is the buffer `transition`, so `keep=[weights]` writes it.
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
        """Return an epoch in random order, without the held-out tenth."""
        kept = torch.nonzero(~self.held_out).flatten()
        return kept[uniform(kept, size, generator)]

    @torch.no_grad()
    def validate(self, view: View, clock: Clock | None = None) -> None:
        """Copy the classifier if its cross-entropy on the held-out tenth is the lowest so far."""
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
        """Estimate T and go back to the initial weights."""
        self.validate(view)
        self.use(self.estimate(predictions_of(self.best, view), view.labels))
        self.model.load_state_dict(self.initial.state_dict())

    def estimate(self, p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return T, from predictions for the training set, (n, classes), and its given labels, (n,)."""
        return anchor_matrix(p, self.percentile)

    def use(self, T: torch.Tensor) -> None:
        """Set the T of the loss."""
        self.transition.copy_(T)


@torch.no_grad()
def predictions_of(net: nn.Module, view: View) -> torch.Tensor:
    """Return the softmax for the training set, (n, classes), in evaluation form."""
    with evaluation_form(net):
        return torch.cat([F.softmax(single(net(batch.images)), dim=1) for batch in view.batches()])


def forward_losses(logits: torch.Tensor, labels: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
    """Return -log sum_i p_i T[i, y], (n,). Zeros in T are replaced by the smallest float, because their logarithm must be finite."""
    log_T = T.clamp(min=torch.finfo(T.dtype).tiny).log()
    return -torch.logsumexp(log_probabilities(logits) + log_T.T[labels], dim=1)


def anchor_matrix(p: torch.Tensor, percentile: float = 97.0) -> torch.Tensor:
    """Return T from predictions p, (n, classes). Row i is the prediction for the anchor point of class i.

    The anchor point is the example with the largest p_i below this percentile of p_i, because the examples above may be outliers. At
    percentile 100, or if no p_i is below, it is the example with the largest p_i.
    Source: Patrini et al., CVPR 2017, section 4.1, and its released code.
    """
    threshold = p.kthvalue(math.ceil(percentile / 100 * (len(p) - 1)) + 1, dim=0).values  # the percentile, or the next value above it
    below = p < threshold if percentile < 100 else torch.zeros_like(p, dtype=torch.bool)
    certainty = torch.where(below | ~below.any(dim=0), p, -1)
    T = p[certainty.argmax(dim=0)]
    return T / T.sum(dim=1, keepdim=True)


def confusion_shares(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return in row l the shares of the given labels among the examples predicted as l, or e_l if there are none. p: (n, classes)."""
    K = p.shape[1]
    counts = torch.bincount(p.argmax(dim=1) * K + labels, minlength=K * K).view(K, K).to(p)
    total = counts.sum(dim=1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(K, dtype=p.dtype, device=p.device))
