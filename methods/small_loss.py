"""Small-loss selection by one classifier: the examples of a batch with the smallest losses count as right."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View, Weighted
from methods.coteaching import smallest
from methods.mixture import clean_probability, losses_of
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import choice, in_range


@register
class SmallLoss(Method):
    """After a warm-up by plain training, each batch trains on the share 1 - r of its examples that have the smallest losses.

        loss = mean of CE over the k smallest CE,   k = floor(n (1 - r)), at least 1

    It is Co-teaching with one classifier, which chooses for itself. An example is weighed by 1/k or 0.

    rate: one of known, estimated: 'known', r is the noise rate; 'estimated', after the warm-up, the share of examples that a mixture of two
        normals, fitted to the losses of all, gives to the one with the higher mean
    warm_up: share of plain training, in [0, 1]

    Needs: the noise rate, unless it is estimated (conf/method/small_loss_estimated.yaml).
    Source: the selection of Han et al., "Co-teaching", NeurIPS 2018, whose ramp of 10 of 200 epochs is the warm-up; the mixture of Li et
    al., "DivideMix", ICLR 2020. That this mixture gives the rate is this suite's choice.
    """

    noise_rate: torch.Tensor

    def __init__(self, rate: str = "known", warm_up: float = 0.05) -> None:
        super().__init__()
        self.rate, self.warm_up = choice("rate", rate, ("known", "estimated")), in_range("warm_up", warm_up, 0, 1)
        if rate == "known":
            self.needs = Knowledge.NOISE_RATE

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        known = view.noise_rate if self.rate == "known" else 0.0
        self.register_buffer("noise_rate", torch.tensor(known, dtype=torch.float64))

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        before = self._estimate if self.rate == "estimated" else None
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("selection", main, self.loss, before=before)]

    def _estimate(self, view: View) -> None:
        wrong = clean_probability(losses_of(self.model, view)) < 0.5
        self.noise_rate.copy_(wrong.double().mean())

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        k = (len(losses) - len(losses) * self.noise_rate).floor().clamp(min=1)
        weights = smallest(losses.detach(), k) / k.to(losses.dtype)
        return Weighted((weights * losses).sum(), weights)
