"""Weights for given labels and for predictions, set at each step by clean data: learning to bootstrap (L2B)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, Method, Phase, Weighted, normalised
from methods.meta_gradient import clean_gradient, logits_along, slopes
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range


@register
class L2B(Method):
    """Bootstrapping whose two weights per example come from the agreement of gradients with the one on clean data, as in L2RW.

        loss = sum_i w_i CE(z_i, y_i) + w'_i CE(z_i, argmax z_i)
        u_i, u'_i: derivative of either cross-entropy along the gradient of the mean loss of a clean batch
        w_i = max(u_i, 0) / S,   w'_i = max(u'_i, 0) / S,   S = sum_k max(u_k, 0) + max(u'_k, 0);   all zero if S is

    One forward-mode pass serves both labels, so a step costs as much as one of L2RW (1.03 on ResNet-32). A warm-up minimises the mean of
    CE(z_i, y_i). If the prediction is the given label, both terms are equal, and if this holds for all examples, the method is L2RW. The
    example weight is the weight of the given label: w_i, plus w'_i if the prediction equals it.

    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    warm_up: share of training, in [0, 1]; 1/30 is the authors' 10 of 300 epochs

    Needs: the clean set. Source: Zhou et al., "L2B: Learning to Bootstrap Robust Models for Combating Label Noise", CVPR 2024. Its
    released code takes the clean gradient after a step of momentum and weight decay alone; here it is at the current parameters.
    It clips gradients at norm 0.25 or 0.8 and has batches of 256 or 512; here both are options of the trainer. Its variants with a
    softmax or sigmoid in place of the maximum, and with mixup, are not included. The released code reports the best test accuracy.
    """

    needs = Knowledge.CLEAN_SET

    def __init__(self, clean_batch_size: int = 100, warm_up: float = 1 / 30) -> None:
        super().__init__()
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.warm_up = in_range("warm_up", warm_up, 0, 1)

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, self.loss)]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        clean = batch.draw_clean(self.clean_batch_size)
        z, dz = logits_along(self.model, batch.images, clean_gradient(self.model, clean.images, clean.labels))
        return bootstrapped(z, batch.labels, *self.weights(z, dz, batch.labels))

    def weights(self, z: torch.Tensor, dz: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return w and w', (n,) each."""
        u = torch.cat([slopes(z, dz, labels), slopes(z, dz, z.argmax(dim=1))])
        given, predicted = normalised(u.clamp(min=0)).chunk(2)
        return given, predicted


def bootstrapped(z: torch.Tensor, labels: torch.Tensor, given: torch.Tensor, predicted: torch.Tensor) -> Weighted:
    """Return sum_i given_i CE(z_i, y_i) + predicted_i CE(z_i, argmax z_i), and the weights of the labels y, (n,)."""
    guess = z.argmax(dim=1)
    losses = given * F.cross_entropy(z, labels, reduction="none") + predicted * F.cross_entropy(z, guess, reduction="none")
    return Weighted(losses.sum(), given + torch.where(guess == labels, predicted, 0))
