"""Focal loss: cross-entropy that counts examples less, the likelier their label already is."""

import torch

from methods.base import Batch, Weighted
from methods.logit_loss import LogitLoss
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class Focal(LogitLoss):
    """Multiplies cross-entropy by a power of 1 - p_y, so training concentrates on examples that the model does not fit yet.

        loss = 1/n sum_i (1 - p_iy)^gamma CE_i;   gamma = 0 gives cross-entropy

    The gradient is that of cross-entropy times (1 - p_y)^gamma [1 - gamma p_y log p_y / (1 - p_y)]. The example weight is this factor
    divided by n. It is large for unlikely labels, which include most wrong ones.

    gamma: exponent, at least 0

    Needs: nothing beyond noisy labels. It does not count classes.
    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, whose gamma is the default. The code of LDAM uses gamma 1 on
    long-tailed CIFAR. Here p is the softmax; the detector and the code of class-balanced focal loss use one sigmoid for each class.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = at_least("gamma", gamma, 0)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self._of(of_labels(log_probabilities(logits), labels))

    def loss(self, batch: Batch) -> Weighted:
        log_p_y = of_labels(log_probabilities(self.model(batch.images)), batch.labels)
        return Weighted(self._of(log_p_y).mean(), self.factors(log_p_y.detach()) / len(log_p_y))

    def _of(self, log_p_y: torch.Tensor) -> torch.Tensor:
        return -(_rest(log_p_y) ** self.gamma) * log_p_y

    def factors(self, log_p_y: torch.Tensor) -> torch.Tensor:
        """Return the factors, (n,), between the gradients of this loss and of cross-entropy."""
        rest = _rest(log_p_y)
        return rest**self.gamma * (1 - self.gamma * log_p_y.exp() * log_p_y / rest)


def _rest(log_p_y: torch.Tensor) -> torch.Tensor:
    """Return 1 - p_y, above 0, where the derivative of a power below 1 is finite."""
    return -torch.expm1(log_p_y).clamp(max=-torch.finfo(log_p_y.dtype).tiny)
