"""Active-passive losses: a normalised cross-entropy, and a second loss against its underfitting (NCE+RCE, NCE+MAE)."""

import torch

from methods.base import Batch, Method
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.sce import MINUS_LOG_OF_ZERO
from robust_benchmark.errors import at_least


class ActivePassive(Method):
    """The sum of an active loss, NCE, and a passive one, `scale` (1 - p_y), which also pushes down the other classes."""

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
    """Normalised cross-entropy, which wrong labels do not bias, and reverse cross-entropy, which makes it learn.

        loss = 1/n sum_i alpha NCE_i + beta RCE_i,   NCE = log p_y / sum_k log p_k,   RCE = 9.2103 (1 - p_y)

    NCE under all K labels sums to 1, and RCE to 9.2103 (K - 1), whatever the prediction. The gradient flows through NCE's denominator.

    alpha: weight of the normalised cross-entropy, at least 0
    beta: weight of the reverse cross-entropy, at least 0

    Needs: nothing beyond noisy labels. Defaults: the released code's for CIFAR-10; it has alpha 10 and beta 0.1 for CIFAR-100, and alpha
    1 and beta 10 for MNIST. It trains at a learning rate of 0.01 on CIFAR-10, along a cosine, with gradients clipped at norm 5.
    Source: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020.
    """

    scale = MINUS_LOG_OF_ZERO


@register("nce_mae")
class NormalisedAndAbsolute(ActivePassive):
    """Normalised cross-entropy, which wrong labels do not bias, and the mean absolute error, which makes it learn.

        loss = 1/n sum_i alpha NCE_i + beta (1 - p_iy),   NCE = log p_y / sum_k log p_k

    The released code has 1 - p_y, as here, where the paper has 2 (1 - p_y) with the same beta.

    alpha: weight of the normalised cross-entropy, at least 0
    beta: weight of the mean absolute error, at least 0

    Needs: nothing beyond noisy labels. Defaults: the released code's for CIFAR-10; it has alpha 10 and beta 1 for CIFAR-100, and alpha 1
    and beta 10 for MNIST. It trains at a learning rate of 0.01 on CIFAR-10, along a cosine, with gradients clipped at norm 5.
    Source: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020.
    """

    scale = 1.0
