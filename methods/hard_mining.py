"""Hard negative mining of the majority class."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.registry import register
from methods.sampling import uniform
from methods.schedules import Schedules
from robust_benchmark.errors import at_least, choice


@register
class HardMining(Method):
    """Keeps every minority example of a batch and the same number of majority examples, those with the highest loss.

        loss = mean of CE over { i : y_i != majority } and the top-k majority examples by CE_i,   k = max(1, minority in the batch)

    candidates: examples to select from in each step, at least 0; 0 is the trainer's batch size
    ranking: one of loss, order: 'loss', the paper's definition; 'order', the behaviour of the published code (its ranking ties, so it keeps
        the first k majority examples of the batch). The released variant is candidates=500 ranking=order.

    Source: the Hard Mining baseline of Ren et al., ICML 2018, section 4.1.
    """

    def __init__(self, candidates: int = 0, ranking: str = "loss") -> None:
        super().__init__()
        self.candidates = int(at_least("candidates", candidates, 0))
        self.ranking = choice("ranking", ranking, ("loss", "order"))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.majority = int(torch.bincount(view.labels).argmax())

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, sample=self._sample)]

    def _sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        return uniform(labels, self.candidates or size, generator)

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")  # (n,)
        weights = normalised(self.kept(losses.detach(), batch.labels).float())
        return Weighted((weights * losses).sum(), weights)

    def kept(self, losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mark the examples to train on, bool (n,)."""
        minority = labels != self.majority
        hardness = losses if self.ranking == "loss" else -torch.arange(len(losses), device=losses.device)
        order = torch.where(minority, -torch.inf, hardness).argsort(descending=True, stable=True)  # majority first, hardest first
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return minority | (rank < minority.sum().clamp(min=1))
