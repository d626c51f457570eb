"""A predefined or learnt curriculum that weights each example by its loss (MentorNet)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Clock, Knowledge, MakeModel, Method, Phase, View, Weighted
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import at_least, choice, in_range

PERCENTS = 100  # unit of training time
EARLY = 17  # percent of training in which `early_dropout` applies
LESSONS = 1000  # steps to train the data-driven mentor


@register
class MentorNet(Method):
    """Down-weights examples whose loss is high compared with a running percentile of the batches' losses.

        loss = 1/n sum_i v_i CE_i,   l_i = CE_i - lambda_1,   lambda_1: moving average of the batch's percentile of CE

    curriculum: one of predefined, data_driven: 'predefined' (MentorNet PD), v = min(max(1 - l / lambda_2, 0), 1), and 1[l <= 0] for
        lambda_2 = 0;
        'data_driven' (MentorNet DD), v = g(CE_i, l_i, percent of training), a small network. It first learns to recognise
        flipped labels on an auxiliary model, which trains on the clean set with artificially flipped labels; then it is fixed.
    percentile: percentile of the batch's losses, in [0, 1]; decay: decay of their moving average, in [0, 1]
    lambda_2: the width of the predefined curriculum's ramp, at least 0
    burn_in: share of training, in [0, 1], in which v = 1, and after which the clock of the data-driven network stops
    dropout, early_dropout: share of examples dropped at random, in [0, 1], independent of v, after and in the first 17 % of training
    noise_rate: share of the clean set's labels flipped, in [0, 1], uniformly to other classes, to train the data-driven curriculum

    Needs: the clean set, for the data-driven curriculum. Source: Jiang et al., "MentorNet: Learning Data-Driven Curriculum for Very
    Deep Neural Networks on Corrupted Labels", ICML 2018 (Eq. 5 and section 4); percentile, decay and dropout from its released code.
    The paper learns g on another data set with known labels; here it is the clean set. Weight decay is not scaled by the mean of v.
    """

    average: torch.Tensor
    flipped_labels: torch.Tensor
    right: torch.Tensor
    lessons: torch.Tensor

    def __init__(
        self,
        curriculum: str = "predefined",
        percentile: float = 0.75,
        decay: float = 0.5,
        lambda_2: float = 1.0,
        burn_in: float = 0.0,
        dropout: float = 0.05,
        early_dropout: float = 0.5,
        noise_rate: float = 0.4,
    ) -> None:
        super().__init__()
        self.curriculum = choice("curriculum", curriculum, ("predefined", "data_driven"))
        self.percentile = in_range("percentile", percentile, 0, 1)
        self.decay = in_range("decay", decay, 0, 1)
        self.lambda_2 = at_least("lambda_2", lambda_2, 0)
        self.burn_in = in_range("burn_in", burn_in, 0, 1)
        self.dropout, self.early_dropout = in_range("dropout", dropout, 0, 1), in_range("early_dropout", early_dropout, 0, 1)
        self.noise_rate = in_range("noise_rate", noise_rate, 0, 1)
        self.learnt = curriculum == "data_driven"
        if self.learnt:
            self.needs = Knowledge.CLEAN_SET

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("average", torch.zeros(()))  # lambda_1
        if self.learnt:
            self.auxiliary = make_model()
            self.mentor = Mentor().requires_grad_(False)
            true_labels = view.clean_set.true_labels
            self.register_buffer("flipped_labels", self._flipped(true_labels, view.num_classes))
            self.register_buffer("right", (self.flipped_labels == true_labels).float())
            self.register_buffer("lessons", torch.full((PERCENTS, len(true_labels), 2), torch.nan))  # CE_i and l_i during training

    def _flipped(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        others = (labels + torch.randint_like(labels, 1, num_classes)) % num_classes
        return torch.where(torch.rand(labels.shape, device=labels.device) < self.noise_rate, others, labels)

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = [replace(phase, before=self._begin) for phase in super().phases(schedules)]
        if not self.learnt:
            return main
        return [Phase("auxiliary", schedules.clean_only, self._auxiliary_loss, source="clean"), *main]

    def _auxiliary_loss(self, batch: Batch) -> torch.Tensor:
        """Train on the flipped labels; the mentor learns from the loss curves of their examples."""
        losses = F.cross_entropy(self.auxiliary(batch.images), self.flipped_labels[batch.index], reduction="none")
        excess, percent = self._advance(losses.detach(), batch.clock)
        self.lessons[_rows(percent), batch.index] = torch.stack([losses.detach(), excess], dim=1)
        return losses.mean()

    def _begin(self, view: View) -> None:
        """Reset the average, and train the mentor."""
        self.average.zero_()
        if self.learnt:
            seen = self.lessons.isfinite().all(dim=2)  # (percents, clean)
            percents, examples = seen.nonzero(as_tuple=True)
            self.mentor.learn(self.lessons[seen], percents, self.right[examples])

    def loss(self, batch: Batch) -> Weighted:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        excess, percent = self._advance(losses.detach(), batch.clock)
        v = torch.where(percent < PERCENTS * self.burn_in, 1.0, self.curriculum_weights(losses.detach(), excess, percent))
        return Weighted((self._drop(v, percent) * losses).mean(), v / len(v))

    def _advance(self, losses: torch.Tensor, clock: Clock) -> tuple[torch.Tensor, torch.Tensor]:
        """Return l_i, (n,), and the percentage of the phase that is done; update lambda_1."""
        percent = PERCENTS * clock.step / clock.steps
        self.average.lerp_(torch.quantile(losses, self.percentile), 1 - self.decay)
        return losses - self.average, percent  # 0-dimensional, on the device

    @torch.no_grad()
    def curriculum_weights(self, losses: torch.Tensor, excess: torch.Tensor, percent: torch.Tensor) -> torch.Tensor:
        """Return v, (n,), for losses and l, (n,)."""
        if self.learnt:
            return self.mentor(torch.stack([losses, excess], dim=1), percent.clamp(max=PERCENTS * self.burn_in)).sigmoid()
        return (1 - excess / self.lambda_2).clamp(0, 1) if self.lambda_2 else (excess <= 0).float()

    def _drop(self, v: torch.Tensor, percent: torch.Tensor) -> torch.Tensor:
        """Return v with a random share of its entries set to zero."""
        rate = torch.where(percent < EARLY, self.early_dropout, self.dropout)
        rank = torch.rand_like(v).argsort().argsort()
        return torch.where(rank < len(v) * (1 - rate), v, 0)


def _rows(percent: torch.Tensor) -> torch.Tensor:
    """Return row indices of tables with one row per percent, (1,) or (n,); a zero-dimensional index would block the host."""
    return percent.long().clamp(max=PERCENTS - 1).view(-1)


class Mentor(nn.Module):
    """Map an example's loss, its excess over lambda_1 and the percentage of training to the logit of v; MentorNet's published shape."""

    clock: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 1, bidirectional=True)
        self.register_buffer("clock", torch.randn(PERCENTS, 5))  # an untrained embedding
        self.head = nn.Sequential(nn.Linear(7, 20), nn.Tanh(), nn.Linear(20, 1))

    def forward(self, features: torch.Tensor, percent: torch.Tensor) -> torch.Tensor:
        """Return logits, (n,), for features CE_i and l_i, (n, 2), at percent, scalar or (n,)."""
        state, _ = self.lstm(features[None])  # a sequence of one step: (1, n, 2)
        time = self.clock[_rows(percent)].expand(len(features), -1)
        return self.head(torch.cat([state[0], time], dim=1)).squeeze(1)

    @torch.enable_grad()
    def learn(self, features: torch.Tensor, percents: torch.Tensor, right: torch.Tensor) -> None:
        """Fit sigmoid(logit) to the correctness of a label, 1 or 0, with LESSONS Adam steps on random batches; then freeze."""
        self.requires_grad_(True)
        optimiser = torch.optim.Adam(self.parameters(), lr=0.01)
        for _ in range(LESSONS):
            rows = torch.randint(len(right), (1000,), device=right.device)
            loss = F.binary_cross_entropy_with_logits(self(features[rows], percents[rows]), right[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.requires_grad_(False)
