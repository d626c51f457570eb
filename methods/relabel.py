"""A classifier trained on the clean set changes noisy labels before training: a baseline of methods with a clean set."""

import copy

import torch
import torch.nn.functional as F

from datasets.task import Examples
from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View, Weighted
from methods.probabilities import of_labels
from methods.registry import register
from methods.schedules import Schedules
from methods.transition import predictions_of
from robust_benchmark.errors import in_range


@register
class Relabel(Method):
    """Trains on the clean set, changes the noisy labels that this classifier contradicts, and trains again on all examples.

        1. plain training on the clean set, on the schedule of `clean_only`;  q_i = its prediction, in evaluation form
        2. from the initial weights again, plain training on clean and noisy examples, where the label of a noisy example is
           argmax q_i if max q_i > confidence, else the given one

    In 2, the clean images are added to the training set with their labels. The example weight of a noisy example is q_iy / n, the
    probability of its given label in stage 1. It ranks examples by the trust in their label; the loss is the plain mean.

    confidence: in [0, 1]; 0 changes every label to the prediction, 1 changes none

    Needs: the clean set. Source: a baseline of this suite, with its own default.
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
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    @torch.no_grad()
    def begin(self, view: View) -> Examples:
        """Change labels, go back to the initial weights and return the clean set, which is added to the training set."""
        q, clean = predictions_of(self.model, view), view.clean_set
        sure, predicted = q.max(dim=1)
        changed = torch.where(sure > self.confidence, predicted, view.labels)
        self.labels.copy_(torch.cat([changed, clean.labels]))
        self.trust[: len(q)] = of_labels(q, view.labels).to(self.trust)
        self.model.load_state_dict(self.initial.state_dict())
        return clean

    def loss(self, batch: Batch) -> Weighted:
        loss = F.cross_entropy(self.model(batch.images), self.labels[batch.index])
        return Weighted(loss, self.trust[batch.index] / len(batch.index))
