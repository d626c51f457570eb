"""Backward correction: the losses of all labels, weighted by the inverse of the noise model."""

import math

import torch

from methods.base import Batch, MakeModel, View
from methods.probabilities import log_probabilities
from methods.registry import register
from methods.transition import Corrected

SMALLEST = 1e-7  # probability; below it the loss is constant
CONDITION = 100.0  # by which T may shrink a direction that its inverse restores


@register
class Backward(Corrected):
    """An unbiased estimate of the cross-entropy of the true label, from the given one.

        loss = 1/n sum_i sum_k (T^-1)[y_i, k] (-log p(k | x_i)),   p at least 1e-7

    It can be negative, and its variance grows with the noise. T is given or estimated, as in `forward`. The inverse is a pseudo-inverse
    in float64 that ignores singular values below a hundredth of the largest: T is singular if its rows are equal, which they are for an
    untrained classifier and at the noise rate at which labels carry no information.

    matrix: one of estimated, given: 'given' is the true matrix (needs TRANSITION_MATRIX; conf/method/backward_oracle.yaml)
    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; the authors take 97, and on
        CIFAR-100 the largest of all (100)

    Source: Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017 (Theorem 1),
    and its released code for the 1e-7.
    """

    inverse: torch.Tensor

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.register_buffer("inverse", torch.eye(view.num_classes))
        super().setup(make_model, view)

    def use(self, T: torch.Tensor) -> None:
        super().use(T)
        self.inverse.copy_(torch.linalg.pinv(T.double().cpu(), rtol=1 / CONDITION))

    def loss(self, batch: Batch) -> torch.Tensor:
        log_p = log_probabilities(self.model(batch.images)).clamp(min=math.log(SMALLEST))
        return -(self.inverse[batch.labels] * log_p).sum(dim=1).mean()
