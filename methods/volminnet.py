"""A transition matrix of least volume, learnt together with the classifier (VolMinNet)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, Method, View
from methods.registry import register
from methods.transition import forward_losses
from robust_benchmark.errors import at_least


@register
class VolMinNet(Method):
    """Forward correction by a T that is learnt end to end, with a penalty on its volume |det T|.

        loss = -1/n sum_i log sum_k p(k | x_i) T[k, y_i] + lam log |det T|
        T = rows of I + offdiag(sigmoid(w)), normalised;   w: free, K x K

    For every w, the diagonal is the largest element of each row of T. Among all T that explain the labels, the true one has the least
    volume if the posteriors are scattered enough. w follows the trial's optimiser and schedule without weight decay; `keep=[weights]`
    writes it. The authors train for 31,000 steps; within a few thousand steps at this rate, T stays near its initial value.

    lam: weight of the volume, at least 0
    init: initial value of w; -2 makes T's diagonal 0.482 at 10 classes. The authors take -4.5 at 100 classes, where it makes 0.479
    rate: learning rate of w as a share of the classifier's, at least 0: 0.1 makes the authors' 0.01 at a learning rate of 0.1 (under Adam,
        which ignores the scale of a gradient, w has the classifier's rate)

    Needs: nothing beyond noisy labels. Source: Li et al., "Provably End-to-end Label-noise Learning without Anchor Points", ICML 2021;
    lam and init of its released code for CIFAR-10. That code picks the epoch with the lowest loss on held-out noisy labels; here the
    last step counts, which is 1 to 5 points worse in another suite's runs.
    """

    def __init__(self, lam: float = 1e-4, init: float = -2.0, rate: float = 0.1) -> None:
        super().__init__()
        self.lam, self.init, self.rate = at_least("lam", lam, 0), init, at_least("rate", rate, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.w = nn.Parameter(torch.full((view.num_classes, view.num_classes), float(self.init)))

    @property
    def transition(self) -> torch.Tensor:
        """T as it has been learnt, (classes, classes)."""
        return matrix_of(self.w.detach())

    def loss(self, batch: Batch) -> torch.Tensor:
        T = matrix_of(torch.lerp(self.w.detach(), self.w, self.rate))  # w itself, with `rate` times its gradient
        return forward_losses(self.model(batch.images), batch.labels, T).mean() + self.lam * torch.linalg.slogdet(T).logabsdet


def matrix_of(w: torch.Tensor) -> torch.Tensor:
    """T, (K, K), of w."""
    eye = torch.eye(len(w), dtype=w.dtype, device=w.device)
    return F.normalize(eye + w.sigmoid() * (1 - eye), p=1, dim=1)
