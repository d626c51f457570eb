"""A second training omits examples whose margin is small during the first one (AUM)."""

import copy
from functools import partial

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.registry import register
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import at_least, in_range


@register
class AUM(Method):
    """Removes examples by the area under their margin, against a threshold that examples with a surely wrong label set.

        margin of a visit: z_y - max_{k != y} z_k of logits z, in training form;   area: its mean over the visits after the first epoch
        threshold: a percentile of the areas of N // (K + 1) random examples, which have the label K + 1, of no example

    1. and 2.: two plain trainings of a classifier with K + 1 outputs, at a constant learning rate, with disjoint sets of threshold
    examples. 3. Plain training of another classifier on what remains: an example is removed if its area is below the threshold in each of
    the trainings in which its label was its own. In 3, an example is weighed by the inverse of the number of examples kept in the batch,
    or 0. Where 1 and 2 are shorter than an epoch, nothing is removed.

    percentile: of the threshold examples' areas, in [0, 100]
    share: steps of each of 1 and 2, as a share of the main schedule's, at least 0, on top of them; 0.5 are the authors' 150 of 300 epochs

    Needs: nothing beyond noisy labels. The cost is 1 + 2 share trainings. Source: Pleiss et al., "Identifying Mislabeled Data using the
    Area Under the Margin Ranking", NeurIPS 2020; defaults of its released code, which has batches of 64 in 1 and 2, 256 in 3, and takes
    N // K threshold examples where the paper, as here, has N / (K + 1).
    """

    flagged: torch.Tensor
    area: torch.Tensor
    visits: torch.Tensor
    kept: torch.Tensor

    def __init__(self, percentile: float = 99.0, share: float = 0.5) -> None:
        super().__init__()
        self.percentile, self.share = in_range("percentile", percentile, 0, 100), at_least("share", share, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        n, self.extra = len(view.labels), view.num_classes
        self.judge = make_model(outputs=self.extra + 1)
        self.initial = copy.deepcopy(self.judge).requires_grad_(False)
        rank = torch.randperm(n, device=view.labels.device)
        self.register_buffer("flagged", rank // max(1, n // (self.extra + 1)) == torch.arange(2, device=rank.device)[:, None])  # (2, n)
        self.register_buffer("area", torch.zeros(2, n))  # summed over visits
        self.register_buffer("visits", torch.zeros(2, n))
        self.register_buffer("kept", torch.ones(n))

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = schedules.main
        judging = Schedule(round(self.share * main.steps), main.lr)
        runs = [Phase(f"margins {run + 1}", judging, partial(self.judging_loss, run), before=self.restart) for run in (0, 1)]
        return [*runs, Phase("main", main, self.loss, before=self.remove)]

    @torch.no_grad()
    def restart(self, view: View) -> None:
        """Set the judging classifier back."""
        self.judge.load_state_dict(self.initial.state_dict())

    def judging_loss(self, run: int, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy, in one of the runs, 0 or 1; adds the margins."""
        labels = torch.where(self.flagged[run, batch.index], self.extra, batch.labels)
        logits = self.judge(batch.images)
        counts = (batch.clock.epoch >= 1).to(self.area)
        self.area[run, batch.index] += counts * margins(logits.detach(), labels).to(self.area)
        self.visits[run, batch.index] += counts
        return F.cross_entropy(logits, labels)

    @torch.no_grad()
    def remove(self, view: View) -> None:
        """Choose what the last phase trains on."""
        area = self.area / self.visits.clamp(min=1)
        thresholds = [torch.quantile(area[run, self.flagged[run]], self.percentile / 100) for run in (0, 1)]
        bad = area < torch.stack(thresholds)[:, None]
        self.kept.copy_(~(bad | self.flagged).all(dim=0))

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        weights = normalised(self.kept[batch.index])
        return Weighted((weights * losses).sum(), weights)


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's logit less the largest other one, (n,), of logits (n, classes)."""
    given = labels[:, None]
    return logits.gather(1, given).squeeze(1) - logits.scatter(1, given, -torch.inf).amax(dim=1)
