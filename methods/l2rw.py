"""Learning to reweight examples (L2RW)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, Method, Weighted, normalised
from methods.meta_gradient import clean_gradient, logits_along, slopes
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class L2RW(Method):
    """Weights each example by the agreement of its gradient with the gradient on clean data.

        u_i = <grad f_i(theta), grad L(theta)>,   L: mean loss of a clean batch        (Eq. 12 at epsilon = 0)
        w_i = max(u_i, 0) / sum_k max(u_k, 0),    all zero if the sum is               (Eq. 8 and 9)
        loss = sum_i w_i f_i(theta)

    The lookahead of the paper is at epsilon = 0, which is theta itself. Therefore u is the derivative of the vector of losses f
    along grad L. One forward-mode pass computes it exactly and replaces backward-on-backward. No gradient flows through w.

    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    meta_weight_decay: lambda of a term lambda theta added to grad L, at least 0; the released CIFAR code uses its weight decay (2e-4),
        and the paper uses none.

    Needs: the clean set. Source: Ren, Zeng, Yang and Urtasun, "Learning to Reweight Examples for Robust Deep Learning", ICML 2018.
    """

    needs = Knowledge.CLEAN_SET

    def __init__(self, clean_batch_size: int = 100, meta_weight_decay: float = 0.0) -> None:
        super().__init__()
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.meta_weight_decay = at_least("meta_weight_decay", meta_weight_decay, 0)

    def loss(self, batch: Batch) -> Weighted:
        losses, weights = self.losses_and_weights(batch, batch.draw_clean(self.clean_batch_size))
        return Weighted((weights * losses).sum(), weights)

    def losses_and_weights(self, batch: Batch, clean: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return f, (n,), with its graph, and w, (n,), without one."""
        direction = clean_gradient(self.model, clean.images, clean.labels, self.meta_weight_decay)
        z, dz = logits_along(self.model, batch.images, direction)
        u = slopes(z, dz, batch.labels)
        return F.cross_entropy(z, batch.labels, reduction="none"), normalised(u.clamp(min=0))
