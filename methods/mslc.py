"""Soft labels from the given label, an earlier one and the prediction, mixed by networks learnt on clean data (MSLC)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, Update, View, Weighted
from methods.meta_gradient import meta_objective
from methods.one_step import logits_ahead, share_network
from methods.probabilities import of_labels, single
from methods.registry import register
from methods.schedules import Optimiser, Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range


@register
class MSLC(Method):
    """Cross-entropy with soft labels, whose mixture two small networks A and B learn so that a step reduces the clean loss.

        target_i = a_i onehot(y_i) + (1 - a_i) [ b_i onehot(argmax s_i) + (1 - b_i) onehot(argmax z_i) ]
        a_i = A(CE(z_i, y_i)),   b_i = B(CE(z_i, argmax s_i));   A and B: 1 -> hidden, ReLU -> 1, sigmoid
        s_i <- a_i onehot(y_i) + (1 - a_i) [ b_i s_i + (1 - b_i) p_i ],   at each visit of example i
        1. A and B follow the gradient of the clean loss at theta^ = theta - lr grad mean_i CE(z_i, target_i)
        2. the model follows its gradient with the new A and B

    In a warm-up, the loss is the mean of CE(z_i, y_i), and s_i is the last prediction p_i; without a warm-up, s_i starts as
    onehot(y_i). The meta-gradient is exact, by one forward-mode pass (`methods.meta_gradient`), with constants as inputs of A and B.
    The example weight is s_iy / n. It ranks examples by the trust in their label. A training costs 0.73 of one of L2RW on ResNet-32,
    because of the warm-up.

    warm_up: share of training, in [0, 1]; 2/3 is the authors' 80 of 120 epochs, after which their learning rate is a tenth
    hidden: units of the hidden layers of A and B, at least 1
    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    lr, weight_decay: options of the networks' Adam, at least 0; the rate is constant, and biases do not decay

    Needs: the clean set; stores (N, classes) numbers. Source: Wu et al., "Learning to Purify Noisy Labels via Meta Soft Label
    Corrector", AAAI 2021; targets, updates of s and defaults from its released code. There, the warm-up ends with the mean prediction of
    10 epochs as s_i, and the look-ahead of the next 20 epochs has 10 times the model's learning rate; here it has the same one.
    """

    needs = Knowledge.CLEAN_SET
    soft: torch.Tensor

    def __init__(
        self, warm_up: float = 2 / 3, hidden: int = 100, clean_batch_size: int = 100, lr: float = 1e-3, weight_decay: float = 1e-4
    ) -> None:
        super().__init__()
        self.warm_up = in_range("warm_up", warm_up, 0, 1)
        self.hidden = int(at_least("hidden", hidden, 1))
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.optimiser = Optimiser("adam", lr=at_least("lr", lr, 0), weight_decay=at_least("weight_decay", weight_decay, 0))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.classes = view.num_classes
        self.given, self.earlier = share_network(self.hidden), share_network(self.hidden)  # A and B
        self.register_buffer("soft", F.one_hot(view.labels, self.classes).float())

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        learn = Update(self._clean_loss_ahead, parts=("given", "earlier"), optimiser=self.optimiser)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, (learn, Update(self.loss)))]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy; s becomes the prediction."""
        z = self.model(batch.images)
        self.soft[batch.index] = single(z.detach()).softmax(dim=1).to(self.soft)
        return F.cross_entropy(z, batch.labels)

    def _clean_loss_ahead(self, batch: Batch) -> torch.Tensor:
        """Return a scalar whose gradient by A and B is that of the clean loss at theta^."""
        s = self.soft[batch.index]

        def train_loss(z: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(z, self.mixed(z, batch.labels, s)[0])

        clean = batch.draw_clean(self.clean_batch_size)
        z, dz, step = logits_ahead(self.model, batch.images, train_loss, batch.clock.lr, clean)
        batch.shared["logits"] = z
        return meta_objective(train_loss, z, dz, step)

    def loss(self, batch: Batch) -> Weighted:
        z = batch.shared["logits"] if "logits" in batch.shared else self.model(batch.images)
        with torch.no_grad():
            targets, s = self.mixed(z, batch.labels, self.soft[batch.index])
            self.soft[batch.index] = s.to(self.soft)
        return Weighted(F.cross_entropy(z, targets), of_labels(s, batch.labels) / len(s))

    def mixed(self, z: torch.Tensor, labels: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the targets, differentiable by A and B, and the new s, (n, K) each, from logits z, (n, K), labels, (n,), and s, (n, K)."""
        z = single(z.detach())
        hard, guess = s.argmax(dim=1), z.argmax(dim=1)
        a = self.given(F.cross_entropy(z, labels, reduction="none")[:, None])  # (n, 1)
        b = self.earlier(F.cross_entropy(z, hard, reduction="none")[:, None])
        y, hard, guess = (F.one_hot(each, self.classes).to(z) for each in (labels, hard, guess))
        return torch.lerp(torch.lerp(guess, hard, b), y, a), torch.lerp(torch.lerp(z.softmax(dim=1), s.to(z), b), y, a)
