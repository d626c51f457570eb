"""Capped loss: examples whose loss is large no longer pull."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register


@register
class Capped(Method):
    """Mean cross-entropy, in which no example counts more than `cap`."""

    def __init__(self, cap: float = 2.0) -> None:
        super().__init__()
        self.cap = cap

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch."""
        return F.cross_entropy(self.model(batch.images), batch.labels, reduction="none").clamp(max=self.cap).mean()
