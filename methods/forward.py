"""Forward correction: the noise model is applied to the softmax."""

import torch

from methods.base import Batch
from methods.registry import register
from methods.transition import Corrected, forward_losses


@register
class Forward(Corrected):
    """Cross-entropy between the given label and the predictions after T; the classifier itself predicts the true label.

        loss = -1/n sum_i log sum_k p(k | x_i) T[k, y_i]

    If T is not given, a phase of plain training estimates it from anchor points (`methods.transition`), and training starts again from the
    initial weights. The cost is then two trainings. The method is the S-Model with a fixed T. In a long training the classifier memorises
    wrong labels even with the true T: for each example alone, the loss is smallest if it predicts the class that most often becomes y_i.
    Two classes that often flip into each other can merge in the first steps, because the gradient of a logit is proportional to its p.

    matrix: one of estimated, given: 'given' is the true matrix (needs TRANSITION_MATRIX; conf/method/forward_oracle.yaml)
    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; the authors take 97, and on
        CIFAR-100, where a class has less than 3 % of the examples, the largest of all (100)

    Source: Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017 (Theorem 2),
    and its released code for the percentile, the held-out tenth and the choice of the epoch. That code overwrites the predictions of
    outliers with zeros, so later rows of T may contain these zeros; here they stay unchanged.
    """

    def loss(self, batch: Batch) -> torch.Tensor:
        return forward_losses(self.model(batch.images), batch.labels, self.transition).mean()
