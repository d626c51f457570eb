"""Influence-balanced loss: examples that would move the classifier most count less, late in training (IB)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted
from methods.logit_loss import counts_of
from methods.parts import TwoParts, two_parts
from methods.probabilities import single
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range

EPSILON = 1e-3  # of the released code, added to the influence


@register
class InfluenceBalanced(Method):
    """Divides the cross-entropy of each example by the size of its gradient in the output layer, and multiplies it by a class weight.

        phase 1: mean CE
        phase 2: loss = 1/n sum_i w_i CE_i,   w_i = alpha c_{y_i} / (||p_i - y_i||_1 ||h_i||_1 + 1e-3)
        c_k proportional to 1 / n_k, with sum_k c_k = K;   h: the model's features

    ||p - y||_1 ||h||_1 is the L1 norm of the gradient of CE in the output layer's weights, so with constant w each example of a class
    has a gradient of the same size there, alpha c_k. The example weight is w_i / n.
    n_k: number of training examples with the given label k; a class without examples has the weight 0

    alpha: factor of the loss in phase 2, at least 0; only its product with the learning rate matters
    begin: share of training before phase 2, in [0, 1]
    detach: True, w_i is a constant for the gradient, as in the paper; False, the gradient flows through it, as in the released code

    Needs: nothing beyond noisy labels.
    Source: Park et al., "Influence-Balanced Loss for Imbalanced Visual Classification", ICCV 2021 (read only through its released code);
    begin is epoch 100 of 200. There alpha is 1,000 and the learning rate falls from 0.1 to 0.001 where phase 2 begins; the trainers
    here lower it to 0.01, so the default of alpha gives the same product.
    """

    model: TwoParts
    class_weights: torch.Tensor

    def __init__(self, alpha: float = 100.0, begin: float = 0.5, detach: bool = True) -> None:
        super().__init__()
        self.alpha = at_least("alpha", alpha, 0)
        self.begin = in_range("begin", begin, 0, 1)
        self.detach = detach

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = two_parts(make_model(), "influence_balanced")
        self.register_buffer("class_weights", inverse_count_weights(counts_of(view)).float(), persistent=False)

    def phases(self, schedules: Schedules) -> list[Phase]:
        plain, balanced = split(schedules.main, self.begin)
        return [Phase("plain", plain, self.plain_loss), Phase("influence-balanced", balanced, self.loss)]

    def plain_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        features = self.model.features(batch.images)  # (n, d)
        logits = single(self.model.output(features))  # (n, K)
        gap = F.softmax(logits, dim=1) - F.one_hot(batch.labels, logits.shape[1])
        influence = gap.abs().sum(dim=1) * single(features).abs().sum(dim=1)  # (n,)
        weights = self.alpha * self.class_weights[batch.labels] / (influence + EPSILON) / len(batch.labels)
        constant = weights.detach()
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        return Weighted(((constant if self.detach else weights) * losses).sum(), constant)


def inverse_count_weights(counts: torch.Tensor) -> torch.Tensor:
    """Return 1 / n_k, float64 (K,), scaled to sum to the number of classes that occur; 0 for the others."""
    weights = torch.where(counts > 0, 1 / counts.double(), 0.0)
    return weights * (counts > 0).sum() / weights.sum()
