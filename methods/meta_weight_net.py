"""A small network that maps the loss of an example to its weight, learnt on clean data (Meta-Weight-Net)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, Update, View, Weighted, normalised
from methods.meta_gradient import clean_gradient, gradient, logits_along, lookahead, meta_objective
from methods.registry import register
from methods.schedules import Optimiser, Schedules
from robust_benchmark.errors import at_least


@register
class MetaWeightNet(Method):
    """Weights each example by a learnt function of its loss, so that a step on the weighted loss reduces the clean loss.

        f_i: cross-entropy of example i
        w_i = V(f_i) / sum_k V(f_k),   or V(f_i) / n without `normalise`;   V: 1 -> hidden, ReLU -> 1, sigmoid
        L(theta, V) = sum_i w_i f_i
        1. V follows the gradient by V of the clean loss at theta^ = theta - lr grad_theta L(theta, V)
        2. the model follows grad_theta L(theta, V) with the new V

    The look-ahead of 1 is a plain step at the current learning rate, without momentum and weight decay. Its meta-gradient is exact, by
    one forward-mode pass (see methods.meta_gradient). Step 2 reuses its logits, so a step costs 3.67 plain steps at equal batches.
    The input of V is a constant; in 1, the sum of V is not. For the model's parameters, w is constant.

    hidden: units of V's hidden layer, at least 1
    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    lr, weight_decay: options of V's Adam, at least 0; the rate is constant, and biases do not decay, as everywhere in this suite
    normalise: False is the form of the released code for label noise, in which V(f) near 0.5 at first halves the learning rate

    Needs: the clean set. Source: Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS 2019;
    defaults from its released code for label noise, except for the division by the sum, which follows the paper.
    """

    needs = Knowledge.CLEAN_SET

    def __init__(
        self, hidden: int = 100, clean_batch_size: int = 100, lr: float = 1e-3, weight_decay: float = 1e-4, normalise: bool = True
    ) -> None:
        super().__init__()
        self.hidden = int(at_least("hidden", hidden, 1))
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.optimiser = Optimiser("adam", lr=at_least("lr", lr, 0), weight_decay=at_least("weight_decay", weight_decay, 0))
        self.normalise = normalise

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.weighting = nn.Sequential(nn.Linear(1, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1), nn.Sigmoid())

    def phases(self, schedules: Schedules) -> list[Phase]:
        learn_weights = Update(self._clean_loss_ahead, parts=("weighting",), optimiser=self.optimiser)
        return [Phase("main", schedules.main, (learn_weights, Update(self.loss)))]

    def _clean_loss_ahead(self, batch: Batch) -> torch.Tensor:
        """Return a scalar whose gradient by V is that of the clean loss at theta^."""

        def train_loss(logits: torch.Tensor) -> torch.Tensor:
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            return (self.weights(losses) * losses).sum()

        clean = batch.draw_clean(self.clean_batch_size)
        theta, step = lookahead(self.model, gradient(self.model, batch.images, train_loss), batch.clock.lr)
        direction = clean_gradient(self.model, clean.images, clean.labels, at=theta)
        logits, tangent = logits_along(self.model, batch.images, direction)
        batch.shared["logits"] = logits
        return meta_objective(train_loss, logits, tangent, step)

    def loss(self, batch: Batch) -> Weighted:
        logits = batch.shared["logits"] if "logits" in batch.shared else self.model(batch.images)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        weights = self.weights(losses).detach()
        return Weighted((weights * losses).sum(), weights)

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Return w, (n,), for cross-entropies, (n,), which are constants; w is differentiable by V."""
        values = self.weighting(losses.detach()[:, None]).squeeze(1)
        return normalised(values) if self.normalise else values / len(values)
