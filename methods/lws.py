"""Learnable scales of the classes' logits, trained on balanced batches after plain training (LWS)."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, MakeModel, Phase, Update, View
from methods.baseline import Baseline
from methods.parts import evaluation_form
from methods.registry import register
from methods.sampling import class_balanced
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import at_least, choice


@register
class LWS(Baseline):
    """Plain training; then one factor for the logit of each class trains alone, on batches with equal numbers of each label.

        phase 1: mean CE of z(x) on the unchanged data
        phase 2: mean CE of s_k z_k(x), with z constant, class-balanced batches, s = 1 at first, its own optimiser
        prediction: s_k z_k(x)

    The model has z_k = <w_k, h> + b_k, so s_k scales the weights of class k and its bias, as in the released code.

    share: additional steps of phase 2, as a share of the main schedule's steps, at least 0; its learning rate starts at the initial
        value of the main one and falls along a cosine
    bn: one of frozen, adapt: 'frozen', the model is in evaluation mode in phase 2 and does not change; 'adapt', batch norm uses
        the statistics of balanced batches, and its running averages follow them, as in the released code

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020: 5 epochs after 90 on
    ImageNet-LT. These epochs have the size of the data in the released code, as here.
    """

    def __init__(self, share: float = 0.05, bn: str = "frozen") -> None:
        super().__init__()
        self.share = at_least("share", share, 0)
        self.bn = choice("bn", bn, ("frozen", "adapt"))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.scale = nn.Parameter(torch.ones(view.num_classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = schedules.main
        schedule = Schedule(max(1, round(self.share * main.steps)), main.lr, cosine=True)
        update = Update(self.scale_loss, parts=("scale",))
        return [*super().phases(schedules), Phase("scale", schedule, (update,), sample=class_balanced)]

    def scale_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy of the scaled logits, which only the scales can change."""
        with evaluation_form(self.model) if self.bn == "frozen" else nullcontext(), torch.no_grad():
            logits = self.model(batch.images)
        return F.cross_entropy(self.scale * logits, batch.labels)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * self.model(images)
