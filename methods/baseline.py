"""Plain training on the noisy labels: mean cross-entropy, the reference of every table."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register


@register
class Baseline(Method):
    """Mean cross-entropy on the noisy labels, without any correction."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels)
