"""Weights by how often each label is right, known from the transition matrix."""

import torch

from methods import base
from methods.base import Batch, Knowledge, MakeModel, Method, View, normalised, weighted_cross_entropy
from methods.registry import register


@register
class Weighted(Method):
    """Weights each example by the true share of right labels among those of its label.

        w_i proportional to p(true label is j | noisy label is j = y_i) = pi_j T_jj / sum_i pi_i T_ij

    At 40 % background flip and ten equally frequent classes it is 1 for other labels and 0.2174 for the background.

    Needs: the transition matrix T, and the class priors pi that it acts on.
    Source: the Weighted baseline of Ren et al., ICML 2018, section 4.2, which takes classes as equally frequent.
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
