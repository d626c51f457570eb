"""Bootstrapping: the model's own prediction corrects the target."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class Reed(Method):
    """Bootstrapped targets: the noisy label mixed with the model's prediction q.

        loss = -1/n sum_i sum_k [ beta y_ik + (1 - beta) t_ik ] log q_ik
        t = one-hot argmax q (hard, Eq. 7), or q itself (soft, Eq. 6; the gradient flows through it, an entropy penalty)

    beta: share of the given label in the target, in [0, 1]
    soft: the prediction is mixed in as probabilities, not as a one-hot vector

    Defaults: beta 0.8 hard; conf/method/reed_soft.yaml has 0.95 soft.

    Source: Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR 2015 workshop.
    """

    def __init__(self, beta: float = 0.8, soft: bool = False) -> None:
        super().__init__()
        self.beta = in_range("beta", beta, 0, 1)
        self.soft = soft

    def loss(self, batch: Batch) -> torch.Tensor:
        log_q = F.log_softmax(self.model(batch.images), dim=1)  # (n, classes)
        log_q_of_t = (log_q.exp() * log_q).sum(dim=1) if self.soft else log_q.max(dim=1).values  # (n,)
        return self.beta * F.nll_loss(log_q, batch.labels) - (1 - self.beta) * log_q_of_t.mean()
