"""A weight for each class of each example, set at each step by clean data: generalized data weighting (GDW)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, Update, View, Weighted
from methods.meta_gradient import meta_objective
from methods.one_step import logits_ahead, share_network, with_value
from methods.probabilities import of_labels, single
from methods.registry import register
from methods.schedules import Optimiser, Schedules
from robust_benchmark.errors import at_least

LEAST, GREATEST = 1e-6, 1e6  # of a class-level weight


@register
class GDW(Method):
    """Scales each component of the loss's gradient by the logits, so an example with a wrong label can still teach about other classes.

        gradient by z_ik: omega_ik (p_ik - [k = y_i]) / n,   the one of cross-entropy if all omega are 1
        1. start: omega_ik = V(f_i), f_i: cross-entropy,   V: 1 -> hidden, ReLU -> 1, sigmoid
        2. g_ik: derivative by omega_ik of the clean loss at theta^ = theta - lr (gradient at the start)
        3. omega <- clip(omega - clip(outer_lr g / sum |g|, -limit, limit), 1e-6, 1e6)
        4. omega_iy <- mean of omega_ik over k != y, weighted by p_ik, so that sum_k omega_ik (p_ik - [k = y_i]) = 0
        5. the model follows its gradient with these omega;  V follows the gradient by V of the clean loss at theta^

    g is exact, -(lr / n) (p_ik - [k = y_i]) dz_ik, from one forward-mode pass (`methods.meta_gradient`); the pass serves V and the
    model's update too. theta^ is a plain step, as in Meta-Weight-Net, whose form without division by the sum this is if omega does not
    move. The example weight is omega_iy / n. It is near 1/(2n) at first, so the step is about half of a plain one. A step costs 1.43 steps
    of L2RW on ResNet-32.

    hidden: units of V's hidden layer, at least 1
    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    lr, weight_decay: options of V's Adam, at least 0; the rate is constant, and biases do not decay
    outer_lr: step of omega along g / sum |g|, at least 0; the authors have 1,000 for CIFAR-100
    limit: largest change of an omega, at least 0

    Needs: the clean set. Source: Chen et al., "Generalized Data Weighting via Class-Level Gradient Manipulation", NeurIPS 2021, and its
    released code, which defines omega_iy by p_iy of at most 0.999; the defaults are those for CIFAR-10.
    """

    needs = Knowledge.CLEAN_SET

    def __init__(
        self,
        hidden: int = 100,
        clean_batch_size: int = 100,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        outer_lr: float = 100.0,
        limit: float = 0.2,
    ) -> None:
        super().__init__()
        self.hidden = int(at_least("hidden", hidden, 1))
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.optimiser = Optimiser("adam", lr=at_least("lr", lr, 0), weight_decay=at_least("weight_decay", weight_decay, 0))
        self.outer_lr, self.limit = at_least("outer_lr", outer_lr, 0), at_least("limit", limit, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.weighting = share_network(self.hidden)

    def phases(self, schedules: Schedules) -> list[Phase]:
        learn_weights = Update(self.clean_loss_ahead, parts=("weighting",), optimiser=self.optimiser)
        return [Phase("main", schedules.main, (Update(self.loss), learn_weights))]  # omega starts from V before its update

    def loss(self, batch: Batch) -> torch.Tensor:
        def start_loss(z: torch.Tensor) -> torch.Tensor:
            losses = F.cross_entropy(z, batch.labels, reduction="none")
            return (self.starts(losses) * losses).mean()

        clean = batch.draw_clean(self.clean_batch_size)
        z, dz, step = logits_ahead(self.model, batch.images, start_loss, batch.clock.lr, clean)
        omega = self.moved(z.detach(), dz, batch.labels)
        loss = class_weighted(z, batch.labels, omega)
        ahead = with_value(meta_objective(start_loss, z, dz, step), loss)
        batch.shared["clean loss ahead"] = Weighted(ahead, of_labels(omega, batch.labels) / len(omega))
        return loss

    def clean_loss_ahead(self, batch: Batch) -> Weighted:
        """Return a scalar whose gradient by V is that of the clean loss at theta^; the update of the model has computed it."""
        if "clean loss ahead" not in batch.shared:  # for held-out images, whose weights the suite asks of the last update
            self.loss(batch)
        return batch.shared["clean loss ahead"]

    def starts(self, losses: torch.Tensor) -> torch.Tensor:
        """Return V(f), (n,), for cross-entropies, (n,), which are constants."""
        return self.weighting(losses.detach()[:, None]).squeeze(1)

    @torch.no_grad()
    def moved(self, z: torch.Tensor, dz: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return omega, (n, K), after 3 and 4."""
        z = single(z)
        given = F.one_hot(labels, z.shape[1])
        g = -(z.softmax(dim=1) - given) * dz
        change = self.outer_lr * g / g.abs().sum().clamp(min=torch.finfo(g.dtype).tiny)
        start = self.starts(F.cross_entropy(z, labels, reduction="none"))[:, None]
        omega = (start - change.clamp(-self.limit, self.limit)).clamp(LEAST, GREATEST)
        others = z.masked_fill(given.bool(), -torch.inf).softmax(dim=1)  # p_ik / (1 - p_iy), also for p_iy near 1
        return torch.where(given.bool(), (others * omega).sum(dim=1, keepdim=True), omega)


def class_weighted(z: torch.Tensor, labels: torch.Tensor, omega: torch.Tensor) -> torch.Tensor:
    """Return a scalar with the gradient omega_ik (p_ik - [k = y_i]) / n by logits z, (n, K), and the value of the weighted mean loss."""
    errors = single(z.detach()).softmax(dim=1) - F.one_hot(labels, z.shape[1])
    losses = F.cross_entropy(z.detach(), labels, reduction="none")
    return with_value((omega * errors * z).sum() / len(z), (of_labels(omega, labels) * losses).mean())
