"""Negative learning from complementary labels (NL), then selective negative and positive learning (NLNL)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split

MOMENTUM = 0.9  # of the running mean, which replaces the mean of the last ten epochs
SMALLEST = 1e-5  # of 1 - p


@register
class NLNL(Method):
    """Trains on complementary labels, then only for examples with likely labels, then on given labels of the likeliest.

        NL: 1/n sum_i u_i N_i,   N_i = -log max(1 - p_ic, 1e-5),   c: a random label but the given one,   u_i = n_max / n_y
        SelNL: the same, over examples with a running mean of p_y above 1/K;   SelPL: mean CE over those with one above 1/2

    A complementary label is right more often than a given one. The mean of p_y of each example is exponential, of its visits in training.
    An example is weighed by its share in the batch's mean.

    expected: N_i is its expectation over all c, without the noise of one draw

    Needs: nothing beyond noisy labels; stores two numbers for each example.
    Source: Kim et al., "NLNL: Negative Learning for Noisy Labels", ICCV 2019. The released code trains for 720 epochs in each part, at a
    learning rate of 0.02, with one complementary label for each image on CIFAR-10 and 110 on CIFAR-100. It then trains a new model with the
    predictions as labels; this stage is omitted. Its published numbers have not been verified.
    """

    seen: torch.Tensor
    class_weights: torch.Tensor

    def __init__(self, expected: bool = False) -> None:
        super().__init__()
        self.expected = expected

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.num_classes = view.num_classes
        counts = torch.bincount(view.labels, minlength=view.num_classes)
        self.register_buffer("class_weights", counts.max() / counts.clamp(min=1))
        self.register_buffer("seen", torch.zeros(len(view.labels), 2))  # sums of momentum-weighted p_y, and of these weights

    def phases(self, schedules: Schedules) -> list[Phase]:
        parts = split(schedules.main, 1 / 3, 2 / 3)
        losses = {"negative": self.negative, "selective negative": self.selective_negative, "selective positive": self.positive}
        return [Phase(name, part, loss) for part, (name, loss) in zip(parts, losses.items(), strict=True)]

    def negative(self, batch: Batch) -> Weighted:
        """Negative learning of all examples."""
        return self._negative(batch, above=-1.0)

    def selective_negative(self, batch: Batch) -> Weighted:
        """Negative learning of examples that are believed more than by chance."""
        return self._negative(batch, above=1 / self.num_classes)

    def positive(self, batch: Batch) -> Weighted:
        """Cross-entropy of examples that are believed by more than a half."""
        log_p = log_probabilities(self.model(batch.images))
        weights = normalised((self._remembered(log_p, batch) > 0.5).to(log_p.dtype))
        return Weighted((weights * F.nll_loss(log_p, batch.labels, reduction="none")).sum(), weights)

    def _negative(self, batch: Batch, above: float) -> Weighted:
        log_p = log_probabilities(self.model(batch.images))
        weights = normalised((self._remembered(log_p, batch) > above).to(log_p.dtype)) * self.class_weights[batch.labels]
        return Weighted((weights * self.of_complements(log_p, batch.labels)).sum(), weights)

    def of_complements(self, log_p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """N_i of log-predictions, (n, classes), and given labels, (n,)."""
        losses = -(1 - log_p.exp()).clamp(min=SMALLEST).log()  # of each label
        if self.expected:
            return (losses.sum(dim=1) - of_labels(losses, labels)) / (self.num_classes - 1)
        c = (labels + torch.randint_like(labels, 1, self.num_classes)) % self.num_classes
        return of_labels(losses, c)

    def _remembered(self, log_p: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The running mean of p_y of the batch's examples, (n,), this visit included."""
        p_y = of_labels(log_p.detach(), batch.labels).exp().to(self.seen.dtype)
        seen = MOMENTUM * self.seen[batch.index] + (1 - MOMENTUM) * torch.stack([p_y, torch.ones_like(p_y)], dim=1)
        self.seen[batch.index] = seen
        return seen[:, 0] / seen[:, 1]
