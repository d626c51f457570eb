"""Retraining of the classifier on balanced batches with frozen features (cRT)."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Phase, Update, View
from methods.baseline import Baseline
from methods.parts import TwoParts, evaluation_form, two_parts
from methods.registry import register
from methods.sampling import class_balanced
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import at_least, choice


@register
class CRT(Baseline):
    """Plain training; then a new output layer trains alone, on batches with equal numbers of each label.

        phase 1: mean CE of output(features(x)) on the unchanged data
        phase 2: the same loss with constant features, class-balanced batches, a new output layer, its own optimiser

    Imbalanced data gives good features, but biases the output layer towards frequent classes.

    share: additional steps of phase 2, as a share of the main schedule's steps, at least 0; its learning rate starts at the initial
        value of the main one and falls along a cosine
    bn: one of frozen, adapt: 'frozen', features are in evaluation mode in phase 2 and do not change; 'adapt', batch norm uses
        the statistics of balanced batches, and its running averages follow them, as in the released code

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020: 10 epochs after 90 on
    ImageNet-LT. These epochs have the size of the data in the released code, as here.
    """

    model: TwoParts

    def __init__(self, share: float = 0.1, bn: str = "frozen") -> None:
        super().__init__()
        self.share = at_least("share", share, 0)
        self.bn = choice("bn", bn, ("frozen", "adapt"))

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = two_parts(make_model(), "crt")
        self.fresh = two_parts(make_model(), "crt").output.requires_grad_(False)

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = schedules.main
        schedule = Schedule(max(1, round(self.share * main.steps)), main.lr, cosine=True)
        update = Update(self._classifier_loss, parts=("model.output",))
        return [
            *super().phases(schedules),
            Phase("classifier", schedule, (update,), sample=class_balanced, before=self._start_afresh),
        ]

    @torch.no_grad()
    def _start_afresh(self, view: View) -> None:
        self.model.output.load_state_dict(self.fresh.state_dict())

    def _classifier_loss(self, batch: Batch) -> torch.Tensor:
        with evaluation_form(self.model) if self.bn == "frozen" else nullcontext(), torch.no_grad():
            features = self.model.features(batch.images)
        return F.cross_entropy(self.model.output(features), batch.labels)
