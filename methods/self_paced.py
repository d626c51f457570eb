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
    """Trains on examples with a loss below a threshold, which grows.

        loss = sum_i v_i CE_i / sum_i v_i,   v_i = 1 if CE_i < t, otherwise 0 (soft: max(0, 1 - CE_i / t))

    The 0/1 weights v minimise sum_i v_i CE_i - t sum_i v_i. After a warm-up of plain training, t is the median loss of the training set, in
    evaluation mode and without augmentation, so that half of the examples are selected. The rest of training has `stages` equal parts;
    from the second part on, each part multiplies t by `growth`. The example weight is v_i / sum_j v_j.

    warm_up: share of plain training, in [0, 1]
    growth: factor of the threshold, at least 1
    stages: number of parts, each with one threshold, at least 1
    soft: weights decrease linearly with the loss

    Needs: nothing beyond noisy labels. The paper's threshold grows until all examples are selected. Here it ends at growth^(stages - 1)
    times its first value, because the model memorises wrong labels that are selected.
    Source: Kumar, Packer and Koller, "Self-Paced Learning for Latent Variable Models", NeurIPS 2010, for the growth of 1.3 and
    the first half of the examples (not verified). Warm-up and stages are choices of this suite.
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
        """Return v of losses, (n,)."""
        if self.soft:
            return (1 - losses / threshold.clamp(min=1e-12)).clamp(min=0)
        return (losses < threshold).to(losses.dtype)
