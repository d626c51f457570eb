"""Larger margins for rarer classes, and class weights late in training (LDAM-DRW)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, View, Weighted, normalised
from methods.logit_loss import LogitLoss, counts_of
from methods.parts import TwoParts, two_parts
from methods.registry import register
from robust_benchmark.errors import at_least, in_range


@register
class LDAM(LogitLoss):
    """Label-distribution-aware margins on a cosine classifier, with deferred re-weighting.

        logits z_k = scale cos(h, W_k),   h: the model's features;   prediction: z
        loss = sum_i w_i CE(z_i - scale Delta_{y_i} onehot(y_i), y_i),   Delta_k proportional to n_k^(-1/4), max_k Delta_k = margin
        w_i proportional to 1 at first, later to (1 - beta) / (1 - beta^n_k) of the class k = y_i;  they sum to 1 over the batch

    n_k: number of training examples with the given label k; a class without examples has neither margin nor weight
    margin: the largest margin, at least 0; scale: factor of the logits, at least 0
    beta: parameter of the class weights, in [0, 0.999999]
    drw: the share of training after which class weights apply, in [0, 1]; 1: never
    The cosine classifier, without bias, replaces the model's output layer, so weight decay acts on W.

    Source: Cao, Wei, Gaidon, Arechiga and Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
    whose margin, scale, beta and start (epoch 160 of 200) are the defaults; class weights from Cui et al., "Class-Balanced Loss Based on
    Effective Number of Samples", CVPR 2019. The weighted loss is divided by the batch's sum of weights, as in the authors'
    code, and not by n, as in Cui et al. The paper also warms the learning rate up, which this steep loss needs at a high rate, and
    lowers it where class weights start; here both are options of the trainer.
    """

    model: TwoParts
    margins: torch.Tensor
    class_weights: torch.Tensor

    def __init__(self, margin: float = 0.5, scale: float = 30.0, drw: float = 0.8, beta: float = 0.9999) -> None:
        super().__init__()
        self.margin = at_least("margin", margin, 0)
        self.scale = at_least("scale", scale, 0)
        self.drw = in_range("drw", drw, 0, 1)
        self.beta = in_range("beta", beta, 0, 0.999999)

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = two_parts(make_model(), "ldam")
        self.model.output = CosineLayer(self.model.output.in_features, view.num_classes, self.scale)
        counts = counts_of(view)
        self.register_buffer("margins", class_margins(counts, self.margin).float(), persistent=False)
        self.register_buffer("class_weights", effective_number_weights(counts, self.beta).float(), persistent=False)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = F.one_hot(labels, logits.shape[1])
        margins = self.scale * self.margins[labels]  # (n,)
        return F.cross_entropy(logits - own * margins[:, None], labels, reduction="none")

    def loss(self, batch: Batch) -> Weighted:
        weights = normalised(deferred(self.class_weights, self.drw, batch))
        return Weighted((weights * self.example_losses(batch)).sum(), weights)


def class_margins(counts: torch.Tensor, largest: float) -> torch.Tensor:
    """Return Delta, float64 (K,), for counts n_k, (K,)."""
    margins = torch.where(counts > 0, counts.double() ** -0.25, 0.0)
    return largest * margins / margins.max()


def effective_number_weights(counts: torch.Tensor, beta: float) -> torch.Tensor:
    """Return (1 - beta) / (1 - beta^n_k), float64 (K,), scaled to sum to the number of classes that occur."""
    weights = torch.where(counts > 0, (1 - beta) / (1 - beta ** counts.double()), 0.0)
    return weights * (counts > 0).sum() / weights.sum()


def deferred(class_weights: torch.Tensor, begin: float, batch: Batch) -> torch.Tensor:
    """Return the weights, (n,), of a batch's labels from class weights, (K,); ones before the share `begin` of training, or if it is 1."""
    late = (batch.clock.share >= begin) & (begin < 1)  # the share is 1 after training
    return torch.where(late, class_weights[batch.labels], 1.0)


class CosineLayer(nn.Linear):
    """Layer that maps features h, (n, d), to scale cos(h, W_k), (n, K); the rows of W start in random directions, with norm 1."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__(width, classes, bias=False)
        self.scale = scale
        with torch.no_grad():
            self.weight.copy_(F.normalize(torch.randn_like(self.weight)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))
