"""Two classifiers, each of which splits the data for the other into labelled and unlabelled examples (DivideMix)."""

from functools import partial

import torch
import torch.nn.functional as F

from methods.base import Batch, Clock, MakeModel, Method, Phase, Update, View, Weighted
from methods.mixture import clean_probability, losses_of
from methods.parts import evaluation_form
from methods.registry import register
from methods.sampling import cycled, divided
from methods.schedules import Schedules
from methods.semi_supervised import mean_prediction, mixed, semi_supervised_loss, sharpened
from robust_benchmark.errors import at_least, in_range


@register
class DivideMix(Method):
    """Semi-supervised training of two classifiers, each on the other one's split of the data into right and wrong labels.

    After a warm-up with cross-entropy, each classifier computes w_i at the start of each epoch: the probability that label i is right
    (`clean_probability` of the losses). Examples with w_i > threshold for one are labelled for the other. A step uses two views:

        targets: sharpened(w y + (1 - w) q), q the classifier's mean prediction over the views; unlabelled, sharpened(mean of both)
        loss = mean CE on mixed labelled + u mean squared error of probabilities on mixed unlabelled + KL(uniform || mean prediction)

    u = lambda_u min(epochs / ramp, 1). The second classifier sees the first one's update. The sum of their logits predicts. The weight of
    an example is the mean of its two w_i, divided by n. A step takes half of the trainer's batch size from each pool. If a pool has fewer
    examples, those nearest to the threshold fill it. An epoch ends with the larger labelled pool.

    warm_up: share of the schedule, in [0, 1]; penalty: subtracts the entropy of predictions during the warm-up (for asymmetric noise)
    threshold: threshold of w_i, in [0, 1]; temperature: temperature of sharpening, above 0
    alpha: parameter of the mixture's beta distribution, above 0
    lambda_u: weight of the unlabelled loss, at least 0; ramp: epochs during which it rises, above 0

    Needs: nothing beyond noisy labels. docs/choices.md lists the differences from the released code, which gives the defaults.
    Source: Li et al., "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020.
    """

    clean: torch.Tensor

    def __init__(
        self,
        warm_up: float = 0.0625,
        threshold: float = 0.5,
        temperature: float = 0.5,
        alpha: float = 4.0,
        lambda_u: float = 25.0,
        ramp: float = 16.0,
        penalty: bool = False,
    ) -> None:
        super().__init__()
        self.warm_up, self.threshold = in_range("warm_up", warm_up, 0, 1), in_range("threshold", threshold, 0, 1)
        self.temperature, self.alpha = at_least("temperature", temperature, 1e-6), at_least("alpha", alpha, 1e-6)
        self.lambda_u, self.ramp, self.penalty = at_least("lambda_u", lambda_u, 0), at_least("ramp", ramp, 1e-6), penalty

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.peer = make_model()
        self.register_buffer("clean", torch.ones(2, len(view.labels)))  # w of each classifier

    def phases(self, schedules: Schedules) -> list[Phase]:
        main, end = schedules.main, round(self.warm_up * schedules.main.steps)
        nets = tuple(Update(partial(self.loss_of, net)) for net in (0, 1))
        mixing = Phase("main", main.part(end, main.steps), nets, views=("weak", "weak"), sample=self.sample, every_epoch=self.judge)
        return [Phase("warm-up", main.part(0, end), self.warm_up_loss), mixing]

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) + self.peer(images)

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of both classifiers' losses."""
        log_p = torch.stack([F.log_softmax(net(batch.images), dim=1) for net in (self.model, self.peer)])
        entropy = -(log_p.exp() * log_p).sum(dim=2).mean(dim=1)  # (2,)
        return sum(F.nll_loss(each, batch.labels) for each in log_p) - self.penalty * entropy.sum()

    def judge(self, view: View, clock: Clock) -> None:
        """Set w from both classifiers."""
        self.clean.copy_(torch.stack([clean_probability(losses_of(net, view)) for net in (self.model, self.peer)]))

    def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return rows of labelled and unlabelled examples for the first classifier, then for the second, half of `size` of each."""
        width = max(1, min(size, len(labels)) // 2)
        pools = [pool for w in self.clean.flip(0) for pool in divided(w, self.threshold, width)]
        rows = max(map(len, pools[::2])) // width
        return torch.cat([cycled(pool, rows * width, generator).view(rows, width) for pool in pools], dim=1)

    def loss_of(self, net: int, batch: Batch) -> Weighted:
        """Return the loss of one classifier, 0 or 1, on its half of the batch."""
        clean = self.clean[:, batch.index]  # (2, n)
        own, peer = (self.peer, self.model) if net else (self.model, self.peer)
        x, u = ([view.chunk(4)[2 * net + pool] for view in batch.views] for pool in (0, 1))
        w, labels = clean[1 - net, :, None].chunk(4)[2 * net], batch.labels.chunk(4)[2 * net]
        with torch.no_grad():
            q = mean_prediction([own], x)
            targets_x = sharpened(w * F.one_hot(labels, q.shape[1]) + (1 - w) * q, self.temperature)
            with evaluation_form(peer):
                targets_u = sharpened(mean_prediction([own, peer], u), self.temperature)
        images, targets = mixed(torch.cat([*x, *u]), torch.cat([targets_x, targets_x, targets_u, targets_u]), self.alpha)
        u_weight = self.lambda_u * (batch.clock.epoch / self.ramp).clamp(max=1)
        loss = semi_supervised_loss(F.log_softmax(own(images), dim=1), targets, u_weight)
        return Weighted(loss, clean.mean(dim=0) / len(batch.index))
