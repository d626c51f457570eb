"""Cross-entropy of logits with a bounded norm (LogitClip)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.probabilities import single
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class LogitClip(Method):
    """Scales logits down to a maximum norm, so that the loss of an example is bounded.

        loss = 1/n sum_i CE(z_i min(1, norm / ||z_i||), y_i)

    Predictions also use clipped logits, which changes probabilities but not the predicted class. The released code predicts with the
    logits as they are.

    norm: maximum Euclidean norm of an example's logits, above 0

    Needs: nothing beyond noisy labels. Default: the released code's. For another `temp` t, that code differs from the formula: it scales
    logits with a norm above t to the norm 1 / t. Its example for 50 % uniform flips has t = 1.5. The code of a later method (Wang et
    al., 2024) has the norm 1 for CIFAR-10 with uniform flips below 50 %, 1.5 above, 2.5 for asymmetric flips, and 0.5 for CIFAR-100, and
    clips norms above 1 / norm. The paper is not verified.
    Source: Wei et al., "Mitigating Memorization of Noisy Labels by Clipping the Model Prediction", ICML 2023.
    """

    def __init__(self, norm: float = 1.0) -> None:
        super().__init__()
        self.norm = at_least("norm", norm, 1e-6)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        z = single(self.model(images))
        return z * (self.norm / z.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.predict(batch.images), batch.labels)
