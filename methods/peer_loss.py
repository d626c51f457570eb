"""Cross-entropy minus the cross-entropy of labels of other examples (peer loss)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Method
from methods.probabilities import log_probabilities
from methods.registry import register
from robust_benchmark.errors import at_least

SMALLEST = 1e-5  # added to probabilities, so that the second term is bounded
EPOCHS = 300  # of the released code
RELEASED = (  # its curve of a for uniform flips: first epoch, end, value at the first epoch, value at the end
    (20, 40, 0.0, 0.1),
    (40, 90, 1.0, 2.0),
    (90, 140, 2.0, 2.5),
    (140, 240, 2.5, 3.3),
    (240, 340, 3.3, 5.0),
)


@register
class PeerLoss(Method):
    """A second term penalises agreement with labels of other examples, which cancels the effect of uniform flips in expectation.

        loss = [ 1/n sum_i CE(x_i, y_i) - a/n sum_i CE(x_i, y_j(i)) ] / (1 + a),   j: a random permutation of the batch

    CE is -log(p + 1e-5), so that the second term is bounded. With a = 1, a constant prediction has a loss of 0 in expectation. Each step
    draws a new permutation.

    alpha: factor of a, at least 0
    ramp: a follows the released code's curve for uniform flips on CIFAR-10, times alpha; without it, a = alpha. The curve is 0 for 7 % of
        training, rises to 0.1 at 13 %, jumps to 1, and rises to 2 at 30 %, 2.5 at 47 %, 3.3 at 80 % and 4.3 at the end

    Needs: nothing beyond noisy labels. Defaults: those of the released code. The paper's a = 1 for balanced classes is
    conf/method/peer_loss_constant.yaml. For sparse noise, the code's curve ends at 16. The code divides the learning rate by 1 + a; here
    the loss is divided. It uses other images for the second term, at the cost of a second forward pass, and sets the momentum to zero at
    each epoch.
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
        """Return a, (), after this share of training."""
        if not self.ramp:
            return torch.full_like(share, self.alpha)
        epoch = share * EPOCHS
        pieces = (
            torch.where((epoch >= begin) & (epoch < end), low + (high - low) * (epoch - begin) / (end - begin), 0.0)
            for begin, end, low, high in RELEASED
        )
        return self.alpha * sum(pieces, torch.zeros_like(share))
