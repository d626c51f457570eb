"""Generalised cross-entropy, a loss between cross-entropy and the mean absolute error (GCE)."""

import torch

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted
from methods.parts import evaluation_form
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import in_range


@register
class GCE(Method):
    """A loss whose gradient is that of cross-entropy times p_y^q, so examples with an unlikely label count less.

        loss = 1/n sum_i w_i (1 - p_iy^q) / q;   q -> 0 gives cross-entropy, q = 1 gives 1 - p_y, half of the mean absolute error

    Without a threshold, all w_i are 1. With a threshold (truncated GCE), w_i is 1 if p_iy exceeds it and otherwise 0. All w_i are updated
    from time to time, in evaluation mode and without augmentation, and stay fixed in between. The example weight is w_i p_iy^q / n, the
    factor of the gradient.

    q: exponent, in (0, 1]
    threshold: value that p_y must exceed, in [0, 1]; 0 means no truncation
    begin: share of training before the first update of w, in [0, 1]
    every: share of training between two updates of w, in [0.001, 1]

    Needs: nothing beyond noisy labels. With a threshold, it stores one number per example.
    Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018. There is
    no released code. Defaults: those of an unofficial port for CIFAR-10, which updates w every 10 epochs from epoch 40 of 120 on, and
    starts at a learning rate of 0.01. The port computes w with the model that is best on the test set; here it is the current model. The
    paper subtracts a constant from the loss of each kept example; it has no gradient and is omitted here. The paper's threshold is 0.5
    (conf/method/gce_truncated.yaml).
    """

    kept: torch.Tensor

    def __init__(self, q: float = 0.7, threshold: float = 0.0, begin: float = 1 / 3, every: float = 1 / 12) -> None:
        super().__init__()
        self.q = in_range("q", q, 1e-6, 1)
        self.threshold = in_range("threshold", threshold, 0, 1)
        self.begin, self.every = in_range("begin", begin, 0, 1), in_range("every", every, 1e-3, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        if self.threshold:
            self.register_buffer("kept", torch.ones(len(view.labels)))

    def phases(self, schedules: Schedules) -> list[Phase]:
        if not self.threshold:
            return super().phases(schedules)
        updates = 1 + int((1 - self.begin) / self.every - 1e-9)  # none at the very end
        plain, *truncated = split(schedules.main, *(min(1, self.begin + turn * self.every) for turn in range(updates)))
        return [
            Phase("all examples", plain, self.loss),
            *(Phase(f"truncated {turn}", part, self.loss, before=self._truncate) for turn, part in enumerate(truncated, start=1)),
        ]

    @torch.no_grad()
    def _truncate(self, view: View) -> None:
        with evaluation_form(self.model):
            for batch in view.batches():
                log_p_y = self._log_p_y(batch)
                self.kept[batch.index] = (log_p_y.exp() > self.threshold).to(self.kept.dtype)

    def loss(self, batch: Batch) -> Weighted:
        log_p_y = self._log_p_y(batch)
        w = self.kept[batch.index] if self.threshold else torch.ones_like(log_p_y)
        losses = -torch.expm1(self.q * log_p_y) / self.q  # a power of p would have an infinite gradient at 0
        return Weighted((w * losses).mean(), w * (self.q * log_p_y.detach()).exp() / len(w))

    def _log_p_y(self, batch: Batch) -> torch.Tensor:
        return of_labels(log_probabilities(self.model(batch.images)), batch.labels)
