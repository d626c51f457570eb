"""Active-passive losses: normalised cross-entropy plus a second loss against underfitting (NCE+RCE, NCE+MAE)."""

import torch

from methods.base import Batch, Method
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.sce import MINUS_LOG_OF_ZERO
from robust_benchmark.errors import at_least


class ActivePassive(Method):
    """alpha times an active loss, NCE, plus beta times a passive loss, `scale` (1 - p_y), which reduces the other probabilities."""

    scale: float

    def __init__(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta = at_least("alpha", alpha, 0), at_least("beta", beta, 0)

    def loss(self, batch: Batch) -> torch.Tensor:
        log_p = log_probabilities(self.model(batch.images))  # (n, classes)
        log_p_y = of_labels(log_p, batch.labels)
        passive = -self.scale * torch.expm1(log_p_y)
        return (self.alpha * log_p_y / log_p.sum(dim=1) + self.beta * passive).mean()


@register("nce_rce")
class NormalisedAndReverse(ActivePassive):
    """Normalised cross-entropy, which symmetric noise does not bias, plus reverse cross-entropy against its underfitting.

        loss = 1/n sum_i alpha NCE_i + beta RCE_i,   NCE = log p_y / sum_k log p_k,   RCE = 9.2103 (1 - p_y)

    Over all K labels, NCE sums to 1 and RCE to 9.2103 (K - 1), for any prediction. The gradient also flows through NCE's denominator.

    alpha: weight of the normalised cross-entropy, at least 0
    beta: weight of the reverse cross-entropy, at least 0

    Needs: nothing beyond noisy labels. Defaults: those of the released code for CIFAR-10. It uses alpha 10 and beta 0.1 for CIFAR-100,
    alpha 1 and beta 10 for MNIST. On CIFAR-10, its learning rate falls from 0.01 along a cosine, and gradients are clipped at norm 5.
    Source: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020.
    """

    scale = MINUS_LOG_OF_ZERO


@register("nce_mae")
class NormalisedAndAbsolute(ActivePassive):
    """Normalised cross-entropy, which symmetric noise does not bias, plus the mean absolute error against its underfitting.

        loss = 1/n sum_i alpha NCE_i + beta (1 - p_iy),   NCE = log p_y / sum_k log p_k

    The released code uses 1 - p_y, as here; the paper uses 2 (1 - p_y) with the same beta.

    alpha: weight of the normalised cross-entropy, at least 0
    beta: weight of the mean absolute error, at least 0

    Needs: nothing beyond noisy labels. Defaults: those of the released code for CIFAR-10. It uses alpha 10 and beta 1 for CIFAR-100,
    alpha 1 and beta 10 for MNIST. On CIFAR-10, its learning rate falls from 0.01 along a cosine, and gradients are clipped at norm 5.
    Source: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020.
    """

    scale = 1.0
