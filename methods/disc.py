"""Selection and correction of examples by the classifier's confidence on two views (DISC)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.probabilities import single
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range

OFFSET, CAP = 0.5, 0.99  # of the threshold for corrected labels
Q = 0.7  # of the generalised cross-entropy


@register
class DISC(Method):
    """Divides examples into clean, hard and corrected ones by a threshold for each example, on a weak and a strong view.

        clean: p_w(y) > c_w and p_s(y) > c_s;   hard: exactly one of them;   corrected: neither, and the largest probability
            of the views' mean prediction > min((c_w + c_s)/2 + 0.5, 0.99); its class becomes the label
        c <- m c + (1 - m) max_k p(k) for each view, after each epoch's division; initially 1/N
        loss = 1/n ( sum over clean of CE_w + CE_s + lam sum over hard of GCE_w + GCE_s )
             + mean CE of weak images mixed with each other, over clean, hard and corrected examples + the same of strong images

    p is the prediction in the training steps of the last epoch. GCE is (1 - p_y^0.7)/0.7. Mixup has one share max(b, 1 - b), with b ~
    Beta(alpha, alpha), for each view of a batch, and partners from the same set of examples. In a warm-up, the loss is the mean of
    CE_w + CE_s over all examples. The example weight is 1/n for clean, lam/n for hard and 0 for other examples.

    warm_up: share of the schedule, in [0, 1]; 0.1 is the authors' 20 of 200 epochs (15 for instance-dependent noise)
    m: decay of the thresholds, in [0, 1]; the authors have 0.95 for asymmetric noise and for 60 and 80 % noise
    lam: weight of hard examples, at least 0; the authors have 0.2 for 60 and 80 % noise
    alpha: of mixup, above 0

    Needs: nothing beyond noisy labels; stores (2, N, classes) numbers. A step costs four plain ones. Source: Li et al., "DISC: Learning
    from Noisy Labels via Dynamic Instance-Specific Selection and Correction", CVPR 2023; defaults from its released code, which trains
    without momentum (with Adam above 60 % noise) and passes both views through the network as one batch.
    """

    record: torch.Tensor
    confidence: torch.Tensor
    group: torch.Tensor
    labels: torch.Tensor

    def __init__(self, warm_up: float = 0.1, m: float = 0.99, lam: float = 1.0, alpha: float = 5.0) -> None:
        super().__init__()
        self.warm_up, self.m = in_range("warm_up", warm_up, 0, 1), in_range("m", m, 0, 1)
        self.lam, self.alpha = at_least("lam", lam, 0), at_least("alpha", alpha, 1e-6)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        n = len(view.labels)
        self.register_buffer("record", torch.zeros(2, n, view.num_classes))  # the last predictions for weak and strong views
        self.register_buffer("confidence", torch.full((2, n), 1 / n))
        self.register_buffer("group", torch.zeros(3, n))  # clean, hard, corrected
        self.register_buffer("labels", view.labels.clone())

    def phases(self, schedules: Schedules) -> list[Phase]:
        (warm_up, main), views = split(schedules.main, self.warm_up), ("weak", "strong")
        return [
            Phase("warm-up", warm_up, self.warm_up_loss, views=views, every_epoch=self.divide),
            Phase("main", main, self.loss, views=views, every_epoch=self.divide),
        ]

    @torch.no_grad()
    def divide(self, view: View, clock: Clock) -> None:
        """Divide the examples by the predictions of the last epoch, then update the thresholds. Unseen examples do not change."""
        seen = self.record[0].sum(dim=1) > 0  # (n,)
        given = self.record.gather(2, view.labels.expand(2, -1)[..., None]).squeeze(2)  # (2, n)
        above = (given > self.confidence).sum(dim=0)
        sure, favoured = self.record.mean(dim=0).max(dim=1)
        corrected = (above == 0) & (sure > (self.confidence.mean(dim=0) + OFFSET).clamp(max=CAP))
        self.group.copy_(torch.stack([above == 2, above == 1, corrected]) & seen)
        self.labels.copy_(torch.where(corrected & seen, favoured, view.labels))
        self.confidence.copy_(torch.where(seen, torch.lerp(self.record.amax(dim=2), self.confidence, self.m), self.confidence))

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of both views' mean cross-entropies."""
        weak, strong = self.recorded(batch)
        return F.cross_entropy(weak, batch.labels) + F.cross_entropy(strong, batch.labels)

    def recorded(self, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of both views, (n, classes) each, and store their predictions."""
        logits = [single(self.model(view)) for view in batch.views]
        self.record[:, batch.index] = torch.stack(logits).detach().softmax(dim=2).to(self.record)
        return logits

    def loss(self, batch: Batch) -> Weighted:
        clean, hard, corrected = self.group[:, batch.index]
        members, labels = clean + hard + corrected, self.labels[batch.index]
        losses = [self.supervised(logits, labels, clean, hard) for logits in self.recorded(batch)]
        losses += [self.mixed_loss(images, labels, members) for images in batch.views]
        return Weighted(torch.stack(losses).sum(), (clean + self.lam * hard) / len(labels))

    def supervised(self, logits: torch.Tensor, labels: torch.Tensor, clean: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
        """Return the terms of clean and of hard examples for one view."""
        ce = F.cross_entropy(logits, labels, reduction="none")
        return (clean * ce + self.lam * hard * (1 - torch.exp(-Q * ce)) / Q).mean()

    def mixed_loss(self, images: torch.Tensor, labels: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        """Return the mean CE over the members, (n,) of 0 and 1, whose images are mixed with those of other members."""
        share = torch.distributions.Dirichlet(torch.full((2,), self.alpha, device=images.device), validate_args=False).sample().max()
        partner = partners(members)
        logits = single(self.model(share * images + (1 - share) * images[partner]))
        losses = [F.cross_entropy(logits, target, reduction="none") for target in (labels, labels[partner])]
        return (members * (share * losses[0] + (1 - share) * losses[1])).sum() / members.sum().clamp(min=1)


def partners(members: torch.Tensor) -> torch.Tensor:
    """Return the partner of each example: for a member, (n,) of 0 and 1, the next one in a random cycle of all members."""
    order = (torch.rand(members.shape, device=members.device) - members).argsort()  # members first
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return order[(place + 1) % members.sum().long().clamp(min=1)]
