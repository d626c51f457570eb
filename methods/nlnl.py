"""Negative learning: what an image is not (NL), then selective negative and positive learning (NLNL)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split

MOMENTUM = 0.9  # of the running mean, which stands for that of the last ten epochs
SMALLEST = 1e-5  # of 1 - p


@register
class NLNL(Method):
    """Three equal parts of training: on labels that an example does not have, on these for believed examples, on labels of the surest.

        NL: 1/n sum_i u_i N_i,   N_i = -log max(1 - p_ic, 1e-5),   c: a random label but the given one,   u_i = n_max / n_y
        SelNL: the same, over examples with a running mean of p_y above 1/K;   SelPL: mean CE over those with one above 1/2

    A complementary label is right more often than a given one. The mean of p_y of each example is exponential, of its visits in training.
    An example is weighed by its share in the batch's mean.

    expected: N_i is its expectation over all c, without the noise of one draw

    Needs: nothing beyond noisy labels; keeps two numbers an example.
    Source: Kim et al., "NLNL: Negative Learning for Noisy Labels", ICCV 2019. The released code trains for 720 epochs in each part, at a
    learning rate of 0.02, with one complementary label an image on CIFAR-10 and 110 on CIFAR-100, and then anew on its own predictions as
