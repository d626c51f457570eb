"""Cross-entropy minus the cross-entropy of the labels of other examples (peer loss)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.probabilities import log_probabilities
from methods.registry import register
from robust_benchmark.errors import at_least

SMALLEST = 1e-5  # added to probabilities: bounds the second term
EPOCHS = 300
RELEASED = ((20, 40, 0.0, 0.1), (40, 90, 1.0, 2.0), (90, 140, 2.0, 2.5), (140, 240, 2.5, 3.3), (240, 340, 3.3, 5.0))


@register
class PeerLoss(Method):
    """A penalty for agreement with labels of other examples, which cancels the effect of uniform label noise.

        loss = [ 1/n sum_i CE(x_i, y_i) - a/n sum_i CE(x_i, y_j(i)) ] / (1 + a),   j: a random permutation of the batch

    CE is -log(p + 1e-5), so that the second term is bounded. With a = 1, a constant prediction has a loss of 0 in expectation. The peers
    are labels of the same batch, drawn at each step.

    alpha: factor of a, at least 0
    ramp: a follows the released code's curve for uniform flips on CIFAR-10, times alpha: 0 for 7 % of training, to 0.1 at 13 %, then
        1 to 2 at 30 %, 2.5 at 47 %, 3.3 at 80 %, 4.3 at the end; without the ramp, a is alpha

    Needs: nothing beyond noisy labels. Defaults: the released code's; conf/method/peer_loss_constant.yaml is the paper's a = 1 for balanced
    classes. For sparse noise the code rises to 20. It divides the learning rate by 1 + a, where here the loss is divided, forwards
    images of its own for the second term, and forgets momentum at each epoch.
    Source: Liu and Guo, "Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates", ICML 2020.
    """

    def __init__(self, alpha: float = 1.0, ramp: bool = True) -> None:
        super().__init__()
        self.alpha, self.ramp = at_least("alpha", alpha, 0), ramp

    def loss(self, batch: Batch) -> torch.Tensor:
        log_p = log_probabilities(self.model(batch.images), SMALLEST)
        peers = batch.labels[torch.rand(len(batch.labels), device=batch.labels.device).argsort()]
        a = self.weight(batch.clock.share)
        return (F.nll_loss(log_p, batch.labels) - a * F.nll_loss(log_p, peers)) / (1 + a)

    def weight(self, share: torch.Tensor) -> torch.Tensor:
        """a after this share of training, ()."""
        if not self.ramp:
            return torch.full_like(share, self.alpha)
        epoch = share * EPOCHS
        pieces = (
            torch.where((epoch >= begin) & (epoch < end), low + (high - low) * (epoch - begin) / (end - begin), 0.0)
            for begin, end, low, high in RELEASED
        )
        return self.alpha * sum(pieces, torch.zeros_like(share))
