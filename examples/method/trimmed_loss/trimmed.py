"""Trimmed loss: the examples of highest loss in a batch are left out."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class Trimmed(Method):
    """Mean cross-entropy over the share `keep` of a batch with the smallest losses.

    keep: share of the batch that counts, in (0, 1]
    """

    def __init__(self, keep: float = 0.7) -> None:
        super().__init__()
        self.keep = in_range("keep", keep, 0.01, 1)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch, a scalar."""
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        count = max(1, int(self.keep * len(losses)))
        return losses.topk(count, largest=False).values.mean()
