"""Early-learning regularisation: predictions are held to their own moving average (ELR)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, View, Weighted
from methods.registry import register
from robust_benchmark.errors import at_least, in_range

MARGIN = 1e-4  # probabilities of the regulariser stay so far from 0 and 1


@register
class ELR(Method):
    """Cross-entropy, and a term that rewards agreement with what the classifier has predicted for the example so far.

        loss = 1/n sum_i CE_i + lam/n sum_i log(1 - <t_i, p_i>),   t_i <- beta t_i + (1 - beta) p_i / sum_k p_ik

    p_i is the softmax, clamped to [1e-4, 1 - 1e-4]. The memory t_i of each training example starts at zero and moves just before the
    loss of a visit; no gradient flows through it. An example is weighed by t_iy / n, what the memory makes of its label. That ranks
    examples by how far the label is trusted; the loss is no sum over these weights.

    beta: how slowly the memory moves, in [0, 1]
    lam: weight of the regulariser, at least 0

    Needs: nothing beyond noisy labels; keeps (N, classes) numbers.
    Source: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020. Defaults: those of the
    released code for symmetric noise on CIFAR-10; conf/method/elr_asymmetric.yaml has its beta 0.9 and lam 1 for asymmetric noise,
    where lam 3 can make the most frequent label the only prediction. For CIFAR-100 it has beta 0.9 and lam 7. That code trains at
    learning rate 0.02 with weight decay 1e-3; here the trainer's schedule and weight decay hold for all methods.
    """

    memory: torch.Tensor

    def __init__(self, beta: float = 0.7, lam: float = 3.0) -> None:
        super().__init__()
        self.beta = in_range("beta", beta, 0, 1)
        self.lam = at_least("lam", lam, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("memory", torch.zeros(len(view.labels), view.num_classes))

    def loss(self, batch: Batch) -> Weighted:
        logits = self.model(batch.images)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # 1 - <t, p> is too coarse in half precision
        p = F.softmax(logits, dim=1).clamp(MARGIN, 1 - MARGIN)  # (n, classes)
        t = self._remembered(p.detach(), batch.index)
        regulariser = torch.log1p(-(t * p).sum(dim=1)).mean()
        trust = t.gather(1, batch.labels[:, None]).squeeze(1)
        return Weighted(F.cross_entropy(logits, batch.labels) + self.lam * regulariser, trust / len(trust))

    def _remembered(self, p: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The memory of the examples `index`, (n, classes), moved towards `p`."""
        t = self.beta * self.memory[index] + (1 - self.beta) * p / p.sum(dim=1, keepdim=True)
        self.memory[index] = t
        return t
