"""Forward correction: the noise model follows the softmax."""

import torch

from methods.base import Batch
from methods.registry import register
from methods.transition import Corrected, forward_losses


@register
class Forward(Corrected):
    """Cross-entropy of the given label after T has changed the predictions; the classifier itself learns the true label.

        loss = -1/n sum_i log sum_k p(k | x_i) T[k, y_i]

    If T is not given, a phase of plain training estimates it from anchor points (`methods.transition`), and training starts again from
    the initial weights: two trainings in all. It is the S-Model with a fixed T.

    matrix: one of estimated, given: 'given' is the true matrix (needs TRANSITION_MATRIX; conf/method/forward_oracle.yaml)
    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; the authors take 97, and on
        CIFAR-100, where a class has less than 3 % of the examples, the largest of all (100)

    Source: Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017 (Theorem 2),
    with its released code's percentile, held-out tenth and choice of epoch. That code overwrites predictions where it drops outliers, so
    that later rows of T may hold zeros in their place; here it does not.
    """

    def loss(self, batch: Batch) -> torch.Tensor:
        return forward_losses(self.model(batch.images), batch.labels, self.transition).mean()
