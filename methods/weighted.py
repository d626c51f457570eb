"""Weights by the share of right labels for each label, known from the transition matrix."""

import torch

from methods import base
from methods.base import Batch, Knowledge, MakeModel, Method, View, normalised, weighted_cross_entropy
from methods.registry import register


@register
class Weighted(Method):
    """Weights each example by the true share of right labels among the examples with its label.

        w_i proportional to p(true label is j | noisy label is j = y_i) = pi_j T_jj / sum_i pi_i T_ij

    At 40 % background flip and ten equally frequent classes, it is 0.2174 for the background label and 1 for the others.

    Needs: the transition matrix T, and the class priors pi to which it applies.
    Source: the Weighted baseline of Ren et al., ICML 2018, section 4.2, which assumes equally frequent classes.
    """

    needs = Knowledge.TRANSITION_MATRIX
    right: torch.Tensor

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        joint = view.class_priors[:, None] * view.transition_matrix.to(view.class_priors.device)  # p(true label, noisy label)
        right = joint.diagonal() / joint.sum(dim=0).clamp(min=torch.finfo(joint.dtype).tiny)  # a label that never occurs has no share
        self.register_buffer("right", right.float(), persistent=False)

    def loss(self, batch: Batch) -> base.Weighted:
        return weighted_cross_entropy(self.model(batch.images), batch.labels, normalised(self.right[batch.labels]))
