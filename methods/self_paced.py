"""Self-paced learning: easy examples first (SPL)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.mixture import losses_of
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range, whole


@register
class SelfPaced(Method):
    """Trains on examples whose loss is below a threshold, which grows.

        loss = sum_i v_i CE_i / sum_i v_i,   v_i = 1 if CE_i < t, otherwise 0 (soft: max(0, 1 - CE_i / t))

    The 0/1 v minimises sum_i v_i CE_i - t sum_i v_i. After a warm-up by plain training, t is the median loss of the training set, so that
    half of the examples are in; then it is multiplied by `growth` in `stages` equal parts of training, each time but the first.

    warm_up: share of plain training, in [0, 1]
    growth: of the threshold, at least 1
    stages: parts of training with one threshold each, at least 1
    soft: weights fall linearly with the loss

    Needs: nothing beyond noisy labels. The paper's threshold grows until all examples are in; here it ends at growth^(stages - 1) times the
    first, as a threshold that admits wrong labels memorises them.
    Source: Kumar, Packer and Koller, "Self-Paced Learning for Latent Variable Models", NeurIPS 2010, for growth 1.3 and the half that is in
    at first, from memory and not verified. Warm-up and stages are this suite's.
    """

    threshold: torch.Tensor

    def __init__(self, warm_up: float = 0.1, growth: float = 1.3, stages: int = 5, soft: bool = False) -> None:
        super().__init__()
        self.warm_up, self.growth = in_range("warm_up", warm_up, 0, 1), at_least("growth", growth, 1)
        self.stages, self.soft = whole("stages", stages, 1), soft

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("threshold", torch.ones(()))

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("self-paced", main, self.loss, before=self._admit_half)]

    def _admit_half(self, view: View) -> None:
        self.threshold.copy_(losses_of(self.model, view).median())

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        stage = (batch.clock.share * self.stages).floor().clamp(max=self.stages - 1)
        weights = normalised(self.admitted(losses.detach(), self.threshold * self.growth**stage))
        return Weighted((weights * losses).sum(), weights)

    def admitted(self, losses: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        """v of losses, (n,)."""
        if self.soft:
            return (1 - losses / threshold.clamp(min=1e-12)).clamp(min=0)
        return (losses < threshold).to(losses.dtype)
