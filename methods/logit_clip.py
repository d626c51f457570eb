"""Cross-entropy of logits whose norm is bounded (LogitClip)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class LogitClip(Method):
    """Logits are scaled down to a largest norm, so that the loss of an example is bounded.

        loss = 1/n sum_i CE(z_i min(1, norm / ||z_i||), y_i)

    Predictions are of the clipped logits, as trained; their order is that of the logits.

    norm: the largest norm of an example's logits, above 0

    Needs: nothing beyond noisy labels. Default: the value for CIFAR-10 with uniform flips below 50 %; 1.5 above, 2.5 for asymmetric flips,
    0.5 for CIFAR-100. These values come from the released code of a later method and have not been verified in the paper.
    Source: Wei et al., "Mitigating Memorization of Noisy Labels by Clipping the Model Prediction", ICML 2023.
    """

    def __init__(self, norm: float = 1.0) -> None:
        super().__init__()
        self.norm = at_least("norm", norm, 1e-6)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        z = self.model(images)
        return z * (self.norm / z.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.predict(batch.images), batch.labels)
