"""A classifier trained on the clean set corrects labels, and a second training uses them: a baseline for methods with a clean set."""

import copy

import torch
import torch.nn.functional as F

from datasets.task import Examples
from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View, Weighted
from methods.registry import register
from methods.schedules import Schedules
from methods.transition import predictions_of
from robust_benchmark.errors import in_range


@register
class Relabel(Method):
    """Trains on the clean set alone, changes the labels that this classifier contradicts, and trains on all from the start.

        1. plain training on the clean set, on the schedule of `clean_only`;  q_i = its prediction, in evaluation form
        2. from the initial weights again, plain training on clean and noisy examples, where the label of a noisy example is
           argmax q_i if max q_i > confidence, else the given one

    In 2, the clean images join the training set with their labels. A noisy example is weighed by q_iy / n, how far stage 1 trusts its
    label; that ranks examples, and the loss is the plain mean.

    confidence: in [0, 1]; 0 changes each label to the prediction, 1 none

    Needs: the clean set. This suite's baseline, and its choice of 0.5.
    """

    needs = Knowledge.CLEAN_SET
    labels: torch.Tensor
    trust: torch.Tensor

    def __init__(self, confidence: float = 0.5) -> None:
        super().__init__()
        self.confidence = in_range("confidence", confidence, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.initial = copy.deepcopy(self.model).requires_grad_(False)
        total = len(view.labels) + len(view.clean_set)
        self.register_buffer("labels", torch.zeros(total, dtype=torch.int64))  # of noisy examples, then of clean ones
        self.register_buffer("trust", torch.ones(total))

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [
            Phase("clean", schedules.clean_only, self.clean_loss, source="clean"),
            Phase("main", schedules.main, self.loss, before=self.begin),
        ]

    def clean_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    @torch.no_grad()
    def begin(self, view: View) -> Examples:
        """Change labels, restart from the initial weights, and add the clean set."""
        q, clean = predictions_of(self.model, view), view.clean_set
        sure, predicted = q.max(dim=1)
        changed = torch.where(sure > self.confidence, predicted, view.labels)
        self.labels.copy_(torch.cat([changed, clean.labels]))
        self.trust[: len(q)] = q.gather(1, view.labels[:, None]).squeeze(1).to(self.trust)
        self.model.load_state_dict(self.initial.state_dict())
        return clean

    def loss(self, batch: Batch) -> Weighted:
        loss = F.cross_entropy(self.model(batch.images), self.labels[batch.index])
        return Weighted(loss, self.trust[batch.index] / len(batch.index))
