"""A confidence regulariser, and a sieve that drops examples whose label the classifier finds unlikely (CORES2)."""

import torch

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import at_least, in_range

SMALLEST = 1e-8  # added to probabilities: bounds the regulariser


@register
class CORES2(Method):
    """Cross-entropy minus its expectation over the labels of other examples. Later, examples with unlikely labels are omitted.

        loss = mean over kept i of [ CE_i - b sum_k prior_k (-log p_ik) ] / (1 + b)
        kept: all before `sieve`, then those with log p_iy >= mean_k log p_ik
        b: 0 for the first 10 % of training, then linear to `beta` over 30 %

    log p is log(p + 1e-8). The prior is the share of each label among the examples that were kept when they were last seen, counted at
    each epoch. An example is weighed by 1 over the number kept of its batch.

    beta: weight of the regulariser after its ramp, at least 0
    sieve: share of training before examples are omitted, in [0, 1]

    Needs: nothing beyond noisy labels; stores one number for each example.
    Source: Cheng et al., "Learning with Instance-Dependent Label Noise: A Sample Sieve Approach", ICLR 2021. Defaults: the released code's
    100 epochs as shares. It divides the learning rate by 1 + b, while here the loss is divided. It trains without momentum and weight
    decay. Its second phase, consistency training (CORES*), is omitted.
    """

    kept: torch.Tensor
    prior: torch.Tensor

    def __init__(self, beta: float = 2.0, sieve: float = 0.31) -> None:
        super().__init__()
        self.beta, self.sieve = at_least("beta", beta, 0), in_range("sieve", sieve, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("kept", torch.ones(len(view.labels)))
        self.register_buffer("prior", torch.full((view.num_classes,), 1 / view.num_classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, every_epoch=self._count)]

    def _count(self, view: View, clock: Clock) -> None:
        counts = torch.zeros_like(self.prior).index_add_(0, view.labels, self.kept)
        self.prior.copy_(counts / counts.sum().clamp(min=1))

    def loss(self, batch: Batch) -> Weighted:
        log_p = log_probabilities(self.model(batch.images), SMALLEST)  # (n, classes)
        log_p_y = of_labels(log_p, batch.labels)
        b = self.beta * ((batch.clock.share - 0.1) / 0.3).clamp(0, 1)
        likely = (log_p_y >= log_p.mean(dim=1)) | (batch.clock.share < self.sieve)
        kept = likely.to(log_p.dtype)
        self.kept[batch.index] = kept.to(self.kept.dtype)
        weights = kept / kept.sum().clamp(min=1)
        losses = -log_p_y + b * (log_p * self.prior).sum(dim=1)
        return Weighted((weights * losses).sum() / (1 + b), weights)
