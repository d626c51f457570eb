"""ELR with two classifiers, whose moving averages give each other targets, and mixup (ELR+)."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, View, Weighted
from methods.elr import MARGIN
from methods.peers import Peers
from methods.probabilities import of_labels, single
from methods.registry import register
from methods.semi_supervised import mixed
from robust_benchmark.errors import at_least, in_range


@register
class ELRPlus(Peers):
    """Early-learning regularisation of two classifiers: each stays close to the predictions of the other one's moving average.

        t_i <- beta t_i + (1 - beta) softmax of the other classifier's average on the image without mixup
        mixup: x = a x_i + (1 - a) x_j,  y and q likewise of labels and of t,   a = max(b, 1 - b),  b ~ Beta(alpha, alpha)
        loss = sum over both of  mean CE(p(x), y) + lam s mean log(1 - <q, p(x)>),   s = exp(-5 (1 - share / ramp)^2), 1 after the ramp

    p is clamped to [1e-4, 1 - 1e-4] in the last term. A classifier's average covers its parameters and has the decay d = decay exp(-5 (1 -
    share / decay_ramp)^2) per step; its batch norm runs in training form and has its own running averages. The memories t start at zero.
    The mean of both classifiers' logits predicts. The example weight is the mean of both t_iy, divided by n.

    beta: decay of a memory, in [0, 1]; lam: weight of the regulariser, at least 0; ramp: share of training, in [0, 1]
    alpha: of mixup, above 0
    decay: of the averages, in [0, 1]; decay_ramp: share of training, in [0, 1]; 0.5 is the authors' 40,000 of about 78,000 steps

    Needs: nothing beyond noisy labels; stores (2, N, classes) numbers. Source: Liu et al., "Early-Learning Regularization Prevents
    Memorization of Noisy Labels", NeurIPS 2020; defaults from its released code for symmetric noise on CIFAR-10 (beta 0.9 and lam 1 for
    asymmetric noise). For CIFAR-100 the code has a ramp of 40,000 steps and multiplies labels by q; the latter is omitted. It trains each
    classifier in its own order of batches, at learning rate 0.02 with weight decay 5e-4; here both see the same batches, and the
    trainer's settings apply.
    """

    memory: torch.Tensor

    def __init__(
        self,
        beta: float = 0.7,
        lam: float = 3.0,
        ramp: float = 0.0,
        alpha: float = 1.0,
        decay: float = 0.997,
        decay_ramp: float = 0.5,
    ) -> None:
        super().__init__()
        self.beta, self.lam, self.ramp = in_range("beta", beta, 0, 1), at_least("lam", lam, 0), in_range("ramp", ramp, 0, 1)
        self.alpha = at_least("alpha", alpha, 1e-6)
        self.decay, self.decay_ramp = in_range("decay", decay, 0, 1), in_range("decay_ramp", decay_ramp, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.averages = nn.ModuleList(copy.deepcopy(net).requires_grad_(False) for net in (self.model, self.peer))
        self.register_buffer("memory", torch.zeros(2, len(view.labels), view.num_classes))

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        first, second = self.logits(images)
        return (first + second) / 2

    def loss(self, batch: Batch) -> Weighted:
        self.follow(batch.clock.share)
        t = self.remembered(batch)  # (2, n, classes)
        strength = self.lam * risen(batch.clock.share, self.ramp)
        losses = [self.loss_of(net, targets, batch, strength) for net, targets in zip((self.model, self.peer), t, strict=True)]
        trust = of_labels(t.mean(dim=0), batch.labels)
        return Weighted(losses[0] + losses[1], trust / len(trust))

    @torch.no_grad()
    def follow(self, share: torch.Tensor) -> None:
        """Move the averages towards the classifiers' parameters."""
        step = 1 - self.decay * risen(share, self.decay_ramp)
        for average, net in zip(self.averages, (self.model, self.peer), strict=True):
            for theirs, own in zip(average.parameters(), net.parameters(), strict=True):
                theirs.lerp_(own, step)

    @torch.no_grad()
    def remembered(self, batch: Batch) -> torch.Tensor:
        """Return both memories for the batch, (2, n, classes), after moving each towards the other average's predictions."""
        p = torch.stack([F.softmax(single(self.averages[other](batch.images)), dim=1) for other in (1, 0)])
        t = self.beta * self.memory[:, batch.index] + (1 - self.beta) * p
        self.memory[:, batch.index] = t
        return t

    def loss_of(self, net: nn.Module, t: torch.Tensor, batch: Batch, strength: torch.Tensor) -> torch.Tensor:
        """Return the loss of one classifier, given the targets of its memory, (n, classes)."""
        labels = F.one_hot(batch.labels, t.shape[1]).to(t)
        images, blended = mixed(batch.images, torch.cat([labels, t], dim=1), self.alpha)
        y, q = blended.chunk(2, dim=1)
        logits = single(net(images))
        p = F.softmax(logits, dim=1).clamp(MARGIN, 1 - MARGIN)
        return F.cross_entropy(logits, y) + strength * torch.log1p(-(q * p).sum(dim=1)).mean()


def risen(share: torch.Tensor, ramp: float) -> torch.Tensor:
    """Return exp(-5 (1 - share / ramp)^2), or 1 after the ramp."""
    return torch.exp(-5 * (1 - (share / max(ramp, 1e-12)).clamp(max=1)).square()) if ramp else torch.ones_like(share)
