"""Two classifiers that select examples for each other (Co-teaching)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, View, Weighted
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class Coteaching(Method):
    """Each of two classifiers trains on the examples of a batch that have the smallest losses under the other one.

        loss = mean of CE_1 over the k smallest CE_2 + mean of CE_2 over the k smallest CE_1
        k = floor(n - n r min(t / ramp_epochs, 1)^exponent),   r: noise rate,   t: epochs done

    The classifiers have different initial weights and see the same batches. k is at least 1; the order of the batch breaks ties.
    An example has a weight of 1 / (2k) for each classifier that trains on it. The first classifier predicts. The authors evaluate each
    classifier separately; an average of two would add the benefit of any ensemble to the method.

    ramp_epochs: epochs until the dropped share reaches the noise rate, above 0
    exponent: exponent of the ramp, at least 0

    Needs: the noise rate. Source: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
    NeurIPS 2018; defaults from its released code. Here t includes fractions of epochs; in the code, the rate is constant within an epoch
    and reaches r one epoch earlier. Two details of the code are omitted. The code divides the loss by k although it is already a mean, and
    for exponents other than 1 its ramp ends at r^exponent and jumps to r. The authors train with Adam without augmentation.
    """

    needs = Knowledge.NOISE_RATE

    def __init__(self, ramp_epochs: float = 10.0, exponent: float = 1.0) -> None:
        super().__init__()
        self.ramp_epochs = at_least("ramp_epochs", ramp_epochs, 1e-6)
        self.exponent = at_least("exponent", exponent, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.peer = make_model()
        self.noise_rate = view.noise_rate

    def loss(self, batch: Batch) -> Weighted:
        losses = [F.cross_entropy(net(batch.images), batch.labels, reduction="none") for net in (self.model, self.peer)]
        k = self.kept(len(batch.labels), batch.clock.epoch)
        chosen = [smallest(each.detach(), k) / k for each in losses]  # by the net of these losses, for the other net
        loss = (chosen[1] * losses[0]).sum() + (chosen[0] * losses[1]).sum()
        return Weighted(loss, (chosen[0] + chosen[1]) / 2)

    def kept(self, n: int, epoch: torch.Tensor) -> torch.Tensor:
        """Return how many of n examples a classifier keeps after this number of epochs, a whole number as float64 ()."""
        ramp = (epoch.double() / self.ramp_epochs).clamp(max=1) ** self.exponent
        return (n - n * self.noise_rate * ramp).floor().clamp(min=1)


def smallest(losses: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Mark the k smallest of `losses`, (n,), with 1 and the others with 0, in their dtype; the first of equal losses count."""
    order = losses.argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return (rank < k).to(losses.dtype)
