"""Inverse class-frequency weights, the classic method against class imbalance."""

import torch

from methods.base import Batch, MakeModel, Method, View, Weighted, weighted_cross_entropy
from methods.registry import register
from robust_benchmark.errors import choice


@register
class Proportion(Method):
    """Weights each example by the inverse frequency of its label.

        loss = 1/n sum_i CE_i / (K p(y_i)),   p(y): share of label y in the training set, K: classes

    scale: one of mean, released: 'mean', as above, with weights of 1 on average; 'released', as in the published code, the sum
        over the batch of (1 - p(y_i)) CE_i, whose effective learning rate falls with the imbalance.

    Source: the Proportion baseline of Ren et al., ICML 2018, section 4.1.
    """

    weight_of_label: torch.Tensor

    def __init__(self, scale: str = "mean") -> None:
        super().__init__()
        self.scale = choice("scale", scale, ("mean", "released"))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        share = torch.bincount(view.labels, minlength=view.num_classes) / len(view.labels)  # (classes,)
        weights = 1 - share if self.scale == "released" else 1 / (view.num_classes * share)  # absent labels are never drawn
        self.register_buffer("weight_of_label", weights, persistent=False)

    def loss(self, batch: Batch) -> Weighted:
        weights = self.weight_of_label[batch.labels]  # (n,)
        if self.scale == "mean":
            weights = weights / len(weights)
        return weighted_cross_entropy(self.model(batch.images), batch.labels, weights)
