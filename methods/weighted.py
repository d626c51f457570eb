"""Weights by how often each label is right, known from the transition matrix."""

from collections.abc import Callable

import torch
from torch import nn

from methods.base import Batch, Knowledge, Method, View, normalised, weighted_cross_entropy
from methods.registry import register


@register
class Weighted(Method):
    """Weights each example by the true share of right labels among those of its label.

        w_i proportional to p(true label is j | noisy label is j = y_i) = T_jj / sum_i T_ij,   with classes equally frequent

    At 40 % background flip and ten classes it is 1 for other labels and 0.2174 for the background.

    Needs: the transition matrix T. Source: the Weighted baseline of Ren et al., ICML 2018, section 4.2.
    """

    needs = Knowledge.TRANSITION_MATRIX
    right: torch.Tensor

    def setup(self, make_model: Callable[[], nn.Module], view: View) -> None:
        super().setup(make_model, view)
        T = view.transition_matrix  # (classes, classes)
        right = T.diagonal() / T.sum(dim=0).clamp(min=torch.finfo(T.dtype).tiny)  # a label that never occurs has no share
        self.register_buffer("right", right.float(), persistent=False)

    def loss(self, batch: Batch) -> torch.Tensor:
        self.example_weights = normalised(self.right[batch.labels])
        return weighted_cross_entropy(self.model(batch.images), batch.labels, self.example_weights)
