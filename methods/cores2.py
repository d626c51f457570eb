"""A confidence regulariser, and a sieve that drops examples with unlikely labels (CORES2)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import at_least, in_range

SMALLEST = 1e-8  # added to the probabilities of the regulariser, which has no lower bound otherwise


@register
class CORES2(Method):
    """Cross-entropy minus its expectation over random labels; later in training, examples with unlikely labels are dropped.

        loss = mean over kept i of [ CE_i - b sum_k prior_k (-log p_ik) ] / (1 + b)
        kept: all before `sieve`, then those with log p_iy >= mean_k log p_ik
        b: 0 for the first 10 % of training, then linear to `beta` over 30 %

    The regulariser and the sieve use log(p + 1e-8) for log p. The prior is the share of each label among the examples that were kept at
    their last visit; it is counted when an epoch begins. The example weight is 1 / (number of kept examples of the batch), or 0.

    beta: weight of the regulariser after its ramp, at least 0
    sieve: share of training after which examples are dropped, in [0, 1]

    Needs: nothing beyond noisy labels. It stores one number per example.
    Source: Cheng et al., "Learning with Instance-Dependent Label Noise: A Sample Sieve Approach", ICLR 2021. Defaults: those of
    the released code, as shares of its 100 epochs. The code divides the learning rate by 1 + b; here the loss is divided. It trains
    without momentum and weight decay. Its second phase, consistency training (CORES*), is not part of this method.
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
        logits = self.model(batch.images)
        log_p = log_probabilities(logits, SMALLEST)  # (n, classes)
        b = self.beta * ((batch.clock.share - 0.1) / 0.3).clamp(0, 1)
        likely = of_labels(log_p, batch.labels) >= log_p.mean(dim=1)
        kept = (likely | (batch.clock.share < self.sieve)).to(log_p.dtype)
        self.kept[batch.index] = kept.to(self.kept.dtype)
        weights = kept / kept.sum().clamp(min=1)
        losses = F.cross_entropy(logits, batch.labels, reduction="none") + b * (log_p * self.prior).sum(dim=1)
        return Weighted((weights * losses).sum() / (1 + b), weights)
