"""The mean absolute error of probabilities (MAE)."""

import torch

from methods.base import Batch, Method, Weighted
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register


@register
class MAE(Method):
    """A bounded loss that learns slowly and that symmetric label noise does not bias.

        loss = 1/n sum_i sum_k |y_ik - p_ik| = 1/n sum_i 2 (1 - p_iy)

    Its gradient is that of cross-entropy, times 2 p_iy. An example is weighed by 2 p_iy / n. The losses of an example under all K labels
    sum to 2 (K - 1), whatever the prediction: therefore uniform flips do not move the minimum.

    Needs: nothing beyond noisy labels. It has no options.
    Source: Ghosh, Kumar and Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks", AAAI 2017. It underfits: a
    published reproduction on CIFAR-100 reaches 14 % even with right labels.
    """

    def loss(self, batch: Batch) -> Weighted:
        log_p_y = of_labels(log_probabilities(self.model(batch.images)), batch.labels)
        losses = -2 * torch.expm1(log_p_y)
        return Weighted(losses.mean(), 2 * log_p_y.detach().exp() / len(losses))
