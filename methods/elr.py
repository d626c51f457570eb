"""Early-learning regularisation: predictions stay close to their own moving average (ELR)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, View, Weighted
from methods.registry import register
from robust_benchmark.errors import at_least, in_range

MARGIN = 1e-4  # minimum distance of the regulariser's probabilities from 0 and 1


@register
class ELR(Method):
    """Cross-entropy plus a term that rewards agreement with earlier predictions for the same example.

        loss = 1/n sum_i CE_i + lam/n sum_i log(1 - <t_i, p_i>),   t_i <- beta t_i + (1 - beta) p_i / sum_k p_ik

    p_i is the softmax, clamped to [1e-4, 1 - 1e-4]. The memory t_i of each training example starts at zero and is updated just before
    the loss of a visit. No gradient flows through it. The example weight is t_iy / n, the memory's value for its label. It ranks
    examples by the trust in their label; the loss is not a sum over these weights.

    beta: decay of the memory, in [0, 1]
    lam: weight of the regulariser, at least 0

    Needs: nothing beyond noisy labels; stores (N, classes) numbers.
    Source: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020. Defaults: those of the
    released code for symmetric noise on CIFAR-10; conf/method/elr_asymmetric.yaml has its beta 0.9 and lam 1 for asymmetric noise,
    where lam 3 can lead to predicting only the most frequent label. The code's values for CIFAR-100 are beta 0.9 and lam 7. It trains at
    learning rate 0.02 with weight decay 1e-3; here the trainer's schedule and weight decay apply to all methods.
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
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision is too coarse for 1 - <t, p>
        p = F.softmax(logits, dim=1).clamp(MARGIN, 1 - MARGIN)  # (n, classes)
        t = self._remembered(p.detach(), batch.index)
        regulariser = torch.log1p(-(t * p).sum(dim=1)).mean()
        trust = t.gather(1, batch.labels[:, None]).squeeze(1)
        return Weighted(F.cross_entropy(logits, batch.labels) + self.lam * regulariser, trust / len(trust))

    def _remembered(self, p: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Return the memory of the examples `index`, (n, classes), after moving it towards `p`."""
        t = self.beta * self.memory[index] + (1 - self.beta) * p / p.sum(dim=1, keepdim=True)
        self.memory[index] = t
        return t
