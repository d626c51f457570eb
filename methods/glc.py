"""Forward correction with a transition matrix that is counted on the clean set (GLC)."""

import copy

import torch
import torch.nn.functional as F

from datasets.task import Examples
from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View
from methods.clean_set import clean_batches
from methods.parts import evaluation_form
from methods.registry import register
from methods.schedules import Schedules
from methods.transition import forward_losses, single


@register
class GLC(Method):
    """Gold loss correction: noisy labels by forward correction, clean ("gold") ones by plain cross-entropy.

        1. plain training on the noisy labels;  C[i, :] = its mean prediction for clean examples of class i, in evaluation form
        2. from the initial weights again, on noisy and clean examples together:
           loss = 1/n ( sum over noisy of -log sum_k p(k | x) C[k, y]  +  sum over clean of CE )

    In 2, clean images join the training set, so a batch holds them in their share of all images. A class without clean images has
    C[i, i] = 1. The buffer `transition` is C, so the weights that `keep=[weights]` writes hold it. The cost is two trainings.

    Needs: the clean set. Source: Hendrycks et al., "Using Trusted Data to Train Deep Networks on Labels Corrupted by Severe Noise",
    NeurIPS 2018, and its released code, which processes clean and noisy images separately in batch norm. Here they share a batch.
    """

    needs = Knowledge.CLEAN_SET
    transition: torch.Tensor

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.initial = copy.deepcopy(self.model).requires_grad_(False)
        self.register_buffer("transition", torch.eye(view.num_classes))
        self.noisy = len(view.labels)

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [
            Phase("estimation", schedules.main, self.plain_loss),
            Phase("main", schedules.main, self.loss, before=self.begin),
        ]

    def plain_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy on the given labels."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    @torch.no_grad()
    def begin(self, view: View) -> Examples:
        """Set C, restart from the initial weights, and add the clean set."""
        batches = [*clean_batches(view)]
        with evaluation_form(self.model):
            p = torch.cat([F.softmax(single(self.model(batch.images)), dim=1) for batch in batches])
        self.transition.copy_(gold_matrix(p, torch.cat([batch.labels for batch in batches])))
        self.model.load_state_dict(self.initial.state_dict())
        return view.clean_set

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.model(batch.images)
        noisy, gold = forward_losses(logits, batch.labels, self.transition), F.cross_entropy(logits, batch.labels, reduction="none")
        return torch.where(batch.index >= self.noisy, gold, noisy).mean()


def gold_matrix(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Row i: the mean of predictions p, (n, classes), for examples of class i; e_i if there are none."""
    members = F.one_hot(labels, p.shape[1]).to(p)  # (n, classes)
    count = members.sum(dim=0)[:, None]
    return torch.where(count > 0, members.T @ p / count.clamp(min=1), torch.eye(p.shape[1], dtype=p.dtype, device=p.device))
