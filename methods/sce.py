"""Symmetric cross-entropy: cross-entropy plus reverse cross-entropy, which exchanges label and prediction (SCE)."""

import math

import torch

from methods.base import Batch, Method, Weighted
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from robust_benchmark.errors import at_least

MINUS_LOG_OF_ZERO = -math.log(1e-4)  # of the entries of a one-hot label that are 0: 9.2103


@register
class SCE(Method):
    """A small weight on cross-entropy, which learns fast, and a large weight on a bounded loss, which is less sensitive to wrong labels.

        loss = 1/n sum_i alpha CE_i + beta RCE_i,   RCE_i = -sum_k p_ik log y_ik = 9.2103 (1 - p_iy)

    log 0 is taken as log 1e-4 = -9.2103, as in the released code; so RCE is a scaled mean absolute error. The gradient is that of
    cross-entropy, times alpha + 9.2103 beta p_iy, and an example is weighed by that over n.

    alpha: weight of cross-entropy, at least 0
    beta: weight of the reverse cross-entropy, at least 0

    Needs: nothing beyond noisy labels. Defaults: the released code's for CIFAR-10; it has alpha 6 and beta 0.1 for CIFAR-100, 0.01 and 1
    for MNIST. The gradient of an example that is well learnt is 9.3 times that of cross-entropy, and the authors' CIFAR-10 recipe
    begins at a learning rate of 0.01, which falls further with each update; docs/choices.md says how this differs here. The paper
    discusses log 0 from -4 to -8, which has not been verified.
    Source: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta = at_least("alpha", alpha, 0), at_least("beta", beta, 0)

    def loss(self, batch: Batch) -> Weighted:
        log_p_y = of_labels(log_probabilities(self.model(batch.images)), batch.labels)
        rce = -MINUS_LOG_OF_ZERO * torch.expm1(log_p_y)
        weights = self.alpha + self.beta * MINUS_LOG_OF_ZERO * log_p_y.detach().exp()
        return Weighted((self.beta * rce - self.alpha * log_p_y).mean(), weights / len(weights))
