"""A learnt transition matrix after the classifier (the S-Model)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import choice, in_range


@register
class SModel(Method):
    """A noise layer after the softmax, learnt with the classifier and removed at test time.

        p(noisy label j | x) = sum_i p(i | x) T_ij,   T = row-wise softmax of free parameters

    init: one of identity, confusion, oracle: 'identity', smoothed: T_ii = 1 - smoothing, else smoothing / (K - 1);
        'confusion', after a phase of plain training, T_ij proportional to the sum of p(i | x) over examples labelled j;
        'oracle', the true transition matrix (needs TRANSITION_MATRIX; Figure 7 of Ren et al., 2018).
    smoothing: the mass moved off the diagonal, in (0, 1); the oracle has zeros without a logarithm, so it is mixed with this share of 1 / K

    Source: Goldberger and Ben-Reuven, "Training deep neural-networks using a noise adaptation layer", ICLR 2017 (the simple model).
    The paper specifies no smoothing; 0.1 is this suite's choice.
    """

    def __init__(self, init: str = "identity", smoothing: float = 0.1) -> None:
        super().__init__()
        self.init = choice("init", init, ("identity", "confusion", "oracle"))
        self.smoothing = in_range("smoothing", smoothing, 1e-6, 1 - 1e-6)
        if init == "oracle":
            self.needs = Knowledge.TRANSITION_MATRIX

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        K, e = view.num_classes, self.smoothing
        smoothed_identity = torch.eye(K) * (1 - e - e / (K - 1)) + e / (K - 1)
        T = (1 - e) * view.transition_matrix + e / K if self.init == "oracle" else smoothed_identity
        self.transition_logits = nn.Parameter(T.float().log())

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = super().phases(schedules)
        if self.init != "confusion":
            return main
        pretraining = Phase("pretraining", schedules.main, self._plain_loss)
        return [pretraining, *(replace(phase, before=self._take_confusion) for phase in main)]

    def _plain_loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels)

    @torch.no_grad()
    def _take_confusion(self, view: View) -> None:
        """Set T from the pretrained model's predictions on the noisy training set."""
        self.eval()
        confusion = torch.full_like(self.transition_logits, 1e-3)  # unseen pairs can still be learnt
        for batch in view.batches():
            p = F.softmax(self.model(batch.images), dim=1)  # (n, classes)
            confusion.index_add_(1, batch.labels, p.T.contiguous())
        self.transition_logits.copy_((confusion / confusion.sum(dim=1, keepdim=True)).log())
        self.train()

    def loss(self, batch: Batch) -> torch.Tensor:
        log_p = F.log_softmax(self.model(batch.images), dim=1)  # (n, true)
        log_T = F.log_softmax(self.transition_logits, dim=1)  # (true, noisy)
        log_T_of_label = log_T.T[batch.labels]  # (n, true)
        return -torch.logsumexp(log_p + log_T_of_label, dim=1).mean()
