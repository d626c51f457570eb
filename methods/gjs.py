"""Jensen-Shannon divergences between the label and predictions on one view (JS) or on two (GJS)."""

import math

import torch
import torch.nn.functional as F

from methods.base import Batch, Method, Phase
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import choice, in_range

SMALLEST = 1e-30  # lower bound of the mean distribution, for probabilities that underflow


def divergence(log_p: torch.Tensor, labels: torch.Tensor, pi: float) -> torch.Tensor:
    """Return the scaled divergence, (n,), of labels, (n,), and log-probabilities of each view, (views, n, classes).

    [ pi KL(y || m) + sum_v (1 - pi)/V KL(p_v || m) ] / Z,   m = pi y + sum_v (1 - pi)/V p_v,   Z = -(1 - pi) log(1 - pi)
    """
    p = log_p.exp()
    m = (1 - pi) * p.mean(dim=0) + pi * F.one_hot(labels, p.shape[2]).to(p.dtype)  # (n, classes)
    log_m = m.clamp(min=SMALLEST).log()
    of_label = -of_labels(log_m, labels)
    of_views = (p * (log_p - log_m)).sum(dim=2).mean(dim=0)
    return (pi * of_label + (1 - pi) * of_views) / (-(1 - pi) * math.log1p(-pi))


@register("js")
class JS(Method):
    """A bounded divergence between label and prediction; it approaches cross-entropy for pi -> 0 and 1 - p_y for pi -> 1.

        loss = 1/n sum_i [ pi KL(y || m) + (1 - pi) KL(p || m) ] / Z,   m = pi y + (1 - pi) p,   Z = -(1 - pi) log(1 - pi)

    pi: weight of the label, in (0, 1)

    Needs: nothing beyond noisy labels. Default: the released code's value for CIFAR-10 with 20 and 40 % uniform flips, at a learning rate
    of 0.01. Its values depend on the noise: 0.1, 0.7, 0.7, 0.9 and 0.9 at 0, 20, 40, 60 and 80 % uniform flips, 0.3 for asymmetric flips.
    Source: Englesson and Azizpour, "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels", NeurIPS 2021.
    """

    def __init__(self, pi: float = 0.7) -> None:
        super().__init__()
        self.pi = in_range("pi", pi, 1e-6, 1 - 1e-6)

    def loss(self, batch: Batch) -> torch.Tensor:
        log_p = torch.stack([log_probabilities(self.model(view)) for view in batch.views])
        return divergence(log_p, batch.labels, self.pi).mean()


@register("gjs")
class GJS(JS):
    """A bounded divergence between the label and the predictions on two views, which also makes these predictions consistent.

        loss = 1/n sum_i [ pi KL(y || m) + (1 - pi)/2 (KL(p || m) + KL(p' || m)) ] / Z,   m = pi y + (1 - pi)/2 (p + p')
        Z = -(1 - pi) log(1 - pi)

    Each view has its own forward pass, and therefore its own batch-norm statistics. A step costs two steps of plain training.

    pi: weight of the label, in (0, 1)
    strength: augmentation of both views, one of weak, strong

    Needs: nothing beyond noisy labels; weak views need a data set with random augmentation. Default of pi: the released code's value for
    CIFAR-10 with 20 % uniform flips and with asymmetric flips. Its values depend on the noise: 0.5, 0.3, 0.9, 0.1 and 0.1 at 0, 20, 40, 60
    and 80 % uniform flips, 0.3 for asymmetric flips. The code uses RandAugment and cutout on both views (conf/method/gjs_strong.yaml);
    here the default is the augmentation that all methods share.
    Source: Englesson and Azizpour, "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels", NeurIPS 2021.
    """

    def __init__(self, pi: float = 0.3, strength: str = "weak") -> None:
        super().__init__(pi)
        self.strength = choice("strength", strength, ("weak", "strong"))

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, views=(self.strength, self.strength))]
