"""Random example weights: the control that shows how much of reweighting is only noise."""

import torch

from methods.base import Batch, Method, Weighted, normalised, weighted_cross_entropy
from methods.registry import register


@register
class Random(Method):
    """Rectified Gaussian example weights, drawn again in every step.

        w_i = max(z_i, 0) / sum_k max(z_k, 0),   z_i ~ N(0, 1)

    Source: the Random baseline of Ren et al., "Learning to Reweight Examples for Robust Deep Learning", ICML 2018, Eq. 18.
    """

    def loss(self, batch: Batch) -> Weighted:
        z = torch.randn(len(batch.labels), device=batch.labels.device)  # (n,)
        return weighted_cross_entropy(self.model(batch.images), batch.labels, normalised(z.clamp(min=0)))
