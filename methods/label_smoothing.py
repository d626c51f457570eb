"""Label smoothing: a mixture of the one-hot label and the uniform distribution as target."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class LabelSmoothing(Method):
    """Cross-entropy to the given label mixed with the uniform distribution.

        loss = -1/n sum_i sum_k [ (1 - smoothing) y_ik + smoothing / K ] log p_ik

    The uniform part goes to all K classes, the given one included.

    smoothing: share of the uniform distribution in the target, in [0, 1]

    Needs: nothing beyond noisy labels.
    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, whose value is the default; against
    wrong labels, Lukasik et al., "Does Label Smoothing Mitigate Label Noise?", ICML 2020, where the best value rises with the noise. That
    claim has not been verified. Wei et al. (ICML 2022) go on to negative values, whose loss has no lower bound; they are not offered.
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = in_range("smoothing", smoothing, 0, 1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels, label_smoothing=self.smoothing)
