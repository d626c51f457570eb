"""Label smoothing: cross-entropy with a target that is mixed with the uniform distribution."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class LabelSmoothing(Method):
    """Cross-entropy with the target (1 - smoothing) y + smoothing / K.

        loss = -1/n sum_i sum_k [ (1 - smoothing) y_ik + smoothing / K ] log p_ik

    The uniform part covers all K classes, including the given one.

    smoothing: share of the uniform distribution in the target, in [0, 1]

    Needs: nothing beyond noisy labels.
    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, whose value is the default. Lukasik et
    al., "Does Label Smoothing Mitigate Label Noise?", ICML 2020, apply it to wrong labels; the best value rises with the noise (not
    verified). Wei et al. (ICML 2022) use negative values, for which the loss has no lower bound; this option rejects them.
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = in_range("smoothing", smoothing, 0, 1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels, label_smoothing=self.smoothing)
