"""mixup whose labels favour the rarer class (Remix)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, View
from methods.logit_loss import ExampleLosses, counts_of
from methods.registry import register
from robust_benchmark.errors import at_least, in_range


@register
class Remix(ExampleLosses):
    """Mixes images like mixup. If one class has many more examples than the other, the label is that of the rarer class alone.

        x = w x_i + (1 - w) x_j,   loss = 1/n sum_i v CE(x, y_i) + (1 - v) CE(x, y_j),   w ~ Beta(alpha, alpha), one draw per batch
        v = 0 if n_i / n_j >= kappa and w < tau;   1 if n_j / n_i >= kappa and 1 - w < tau;   else w

    n_i: number of training examples with the label y_i. The partners j are a random permutation of the batch.
    Class weights c_k, by `class_balanced` around it, multiply each CE: v c_{y_i} CE(x, y_i) + (1 - v) c_{y_j} CE(x, y_j).

    alpha: both parameters of the beta distribution, at least 0.1, because draws underflow below
    kappa: ratio of class sizes from which on labels are not mixed, at least 1
    tau: largest weight of the frequent class's image for which its label has no weight, in [0, 1]; 0 is mixup

    Needs: nothing beyond noisy labels. Source: Chou et al., "Remix: Rebalanced Mixup", ECCV Workshops 2020, with defaults of the
    released code of imbalanced-DL. That code adds class weights late in training, divided by n (Remix-DRW):
    `method=drw method.base=remix method.mean=plain`.
    """

    counts: torch.Tensor

    def __init__(self, alpha: float = 1.0, kappa: float = 3.0, tau: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.kappa = at_least("alpha", alpha, 0.1), at_least("kappa", kappa, 1)
        self.tau = in_range("tau", tau, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("counts", counts_of(view).float(), persistent=False)

    def example_losses(self, batch: Batch) -> torch.Tensor:
        own, other, partner = self._terms(batch)
        return own.index_add(0, partner, other)

    def loss(self, batch: Batch) -> torch.Tensor:
        own, other, _ = self._terms(batch)
        return (own + other).mean()  # the mean of `example_losses`; shipped records have this order of additions

    def _terms(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the terms of each mixed image with the label of its first image and of its partner, (n,), and the partner's position."""
        images, labels = batch.images, batch.labels
        w = torch.distributions.Dirichlet(torch.full((2,), self.alpha, device=images.device), validate_args=False).sample()[0]
        partner = torch.rand(len(images), device=images.device).argsort()
        logits = self.model(w * images + (1 - w) * images[partner])
        v = self.label_weights(w, self.counts[labels], self.counts[labels[partner]])
        own, other = (F.cross_entropy(logits, each, reduction="none") for each in (labels, labels[partner]))
        return v * own, (1 - v) * other, partner

    def label_weights(self, w: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return v, (n,), of the image weight w, a scalar, and the class sizes n_i and n_j, (n,)."""
        v = torch.where((own >= self.kappa * other) & (w < self.tau), 0.0, w)
        return torch.where((other >= self.kappa * own) & (1 - w < self.tau), 1.0, v)
