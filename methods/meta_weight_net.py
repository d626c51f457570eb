"""A small network from the loss of an example to its weight, learnt on clean data (Meta-Weight-Net)."""

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
    """Weighs each example by a function of its loss, learnt so that a step on the weighted loss is good for clean data.

        f_i: cross-entropy of example i
        w_i = V(f_i) / sum_k V(f_k),   or V(f_i) / n without `normalise`;   V: 1 -> hidden, ReLU -> 1, sigmoid
        L(theta, V) = sum_i w_i f_i
        1. V follows the gradient by V of the clean loss at theta^ = theta - lr grad_theta L(theta, V)
        2. the model follows grad_theta L(theta, V) with the new V

    The look-ahead of 1 is a plain step at the current learning rate, without momentum and weight decay. Its meta-gradient is exact, by
    one forward-mode pass (see methods.meta_gradient), whose logits serve 2 as well: a step costs 3.67 plain ones at equal batches.
    The input of V is a constant; the sum of the V is not, in 1. The model's own parameters see w as constants.

    hidden: units of V's hidden layer, at least 1
    clean_batch_size: clean images a step, at least 1, at most the whole clean set
    lr, weight_decay: of V's Adam, at least 0, at a constant rate; as everywhere in this suite, biases do not decay
    normalise: False is the form of the released code for label noise, where V(f) near 0.5 at first halves the learning rate

    Needs: the clean set. Source: Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS 2019;
    defaults of its released code for label noise, but for the division by the sum, which the paper has.
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
        """A scalar whose gradient by V is that of the clean loss at theta^."""

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
        """w, (n,), of cross-entropies, (n,), taken as constants; differentiable by V."""
        values = self.weighting(losses.detach()[:, None]).squeeze(1)
        return normalised(values) if self.normalise else values / len(values)
