"""Generalised cross-entropy: between cross-entropy and the mean absolute error (GCE)."""

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
    """A loss whose gradient is that of cross-entropy times p_y^q, so examples with unlikely labels count less.

        loss = 1/n sum_i w_i (1 - p_iy^q) / q;   q -> 0 is cross-entropy, q = 1 is 1 - p_y, half of the mean absolute error

    Without a threshold, all w_i are 1. With a threshold (truncated GCE), w_i is 1 if p_iy exceeded it at the last judgement, which uses
    evaluation mode and no augmentation, and 0 otherwise. The weight of an example is w_i p_iy^q / n, as in its gradient.

    q: exponent, in (0, 1]
    threshold: examples with a smaller p_y are omitted, in [0, 1); 0 omits none
    begin: share of training before the first judgement, in [0, 1]
    every: share of training between two judgements, in [0.001, 1]

    Needs: nothing beyond noisy labels. With a threshold, it stores one number for each example.
    Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018. There is
    no released code. Defaults: an unofficial port's for CIFAR-10, which judges from epoch 40 of 120 on, every 10 epochs, and begins at a
    learning rate of 0.01. That port judges by the model that was best on the test set; here the current model judges. The constant that the
    threshold subtracts from the loss has no gradient and is omitted. conf/method/gce_truncated.yaml has the paper's threshold 0.5.
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
        judgements = 1 + int((1 - self.begin) / self.every - 1e-9)  # none at the very end
        plain, *truncated = split(schedules.main, *(min(1, self.begin + turn * self.every) for turn in range(judgements)))
        return [
            Phase("all examples", plain, self.loss),
            *(Phase(f"truncated {turn}", part, self.loss, before=self._judge) for turn, part in enumerate(truncated, start=1)),
        ]

    @torch.no_grad()
    def _judge(self, view: View) -> None:
        with evaluation_form(self.model):
            for batch in view.batches():
                log_p_y = self._log_p_y(batch)
                self.kept[batch.index] = (log_p_y.exp() > self.threshold).to(self.kept.dtype)

    def loss(self, batch: Batch) -> Weighted:
        log_p_y = self._log_p_y(batch)
        w = self.kept[batch.index] if self.threshold else torch.ones_like(log_p_y)
        losses = -torch.expm1(self.q * log_p_y) / self.q  # not by a power of p, whose gradient is infinite at 0
        return Weighted((w * losses).mean(), w * (self.q * log_p_y.detach()).exp() / len(w))

    def _log_p_y(self, batch: Batch) -> torch.Tensor:
        return of_labels(log_probabilities(self.model(batch.images)), batch.labels)
