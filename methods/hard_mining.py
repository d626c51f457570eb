"""Hard negative mining of the majority class."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Method, View, normalised
from methods.registry import register
from robust_benchmark.errors import at_least, choice


@register
class HardMining(Method):
    """Keeps every minority example of a batch and as many of the majority examples of highest loss.

        loss = mean of CE over { i : y_i != majority } and the top-k majority examples by CE_i,   k = max(1, minority in the batch)

    candidates: examples drawn a step to choose from; 0 is the trainer's batch size
    ranking: 'loss', the paper's definition; 'order', what the published code really does (its ranking ties, so it keeps the
        first k majority examples of the batch). The released variant is candidates=500 ranking=order.

    Source: the Hard Mining baseline of Ren et al., ICML 2018, section 4.1.
    """

    def __init__(self, candidates: int = 0, ranking: str = "loss") -> None:
        super().__init__()
        self.candidates = int(at_least("candidates", candidates, 0))
        self.ranking = choice("ranking", ranking, ("loss", "order"))

    def setup(self, make_model: Callable[[], nn.Module], view: View) -> None:
        super().setup(make_model, view)
        self.majority = int(torch.bincount(view.labels).argmax())

    def batch_size(self, default: int) -> int:
        return self.candidates or default

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")  # (n,)
        self.example_weights = normalised(self.kept(losses.detach(), batch.labels).float())
        return (self.example_weights * losses).sum()

    def kept(self, losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Which examples are trained on, bool (n,)."""
        minority = labels != self.majority
        hardness = losses if self.ranking == "loss" else -torch.arange(len(losses), device=losses.device)
        order = torch.where(minority, -torch.inf, hardness).argsort(descending=True, stable=True)  # majority first, hardest first
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return minority | (rank < minority.sum().clamp(min=1))
