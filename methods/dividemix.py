"""Two classifiers, each of which divides the data for the other into labelled and unlabelled examples (DivideMix)."""

import math
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Clock, MakeModel, Method, Phase, Schedules, Update, View, Weighted
from methods.registry import register
from methods.sampling import cycled
from robust_benchmark.errors import at_least, in_range


@register
class DivideMix(Method):
    """Semi-supervised training: examples whose label is probably right, and the others without their labels.

    A warm-up by cross-entropy comes first. Each epoch then begins with w_i, the probability that label i is right by each classifier:
    that of the component of lower mean in a mixture of two normals, fitted to all losses, scaled to [0, 1]. An example with
    w_i > threshold by one classifier is labelled for the other one. A step takes as many labelled as unlabelled ones, two views of each:

        targets: sharpened(w y + (1 - w) q), q the classifier's mean prediction over the views; unlabelled, sharpened(that of both)
        mixed: a x + (1 - a) x' and their targets likewise, x' a random partner among all, a = max(b, 1 - b), b ~ Beta(alpha, alpha)
        loss = mean CE on mixed labelled + u mean squared error of probabilities on mixed unlabelled + KL(uniform || mean prediction)

    sharpened(p) is p^(1 / temperature), normalised; u = lambda_u min(epochs since the warm-up / ramp, 1). The second classifier follows
    the first one's update. The sum of their logits predicts. An example is weighed by the mean of its two w_i, over n.

    warm_up: share of the schedule; penalty: in the warm-up, minus the entropy of predictions (for asymmetric noise)
    An epoch has as many steps as the larger labelled pool gives, a step the trainer's batch size of each of the four pools. Examples
    nearest to the threshold fill up a pool of less than a batch.

    Needs: nothing beyond noisy labels, at one setting for all noise; the authors choose lambda_u (0 to 150), threshold and penalty by
    its kind and rate. Source: Li et al., "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020; details and
    defaults from its released code, lambda_u for 50 and 80 % on CIFAR-10, warm_up its 10 epochs out of the 160 of trainer=cifar. There
    each classifier trains an epoch in turn, at learning rate 0.02 and batches of half the warm-up's, and averages losses over epochs
    at 90 % noise; here they take turns step by step on the trainer's schedule.
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
        self.lambda_u, self.ramp = at_least("lambda_u", lambda_u, 0), at_least("ramp", ramp, 1e-6)
        self.penalty = penalty

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.peer = make_model()
        self.register_buffer("clean", torch.ones(2, len(view.labels)))  # w by each classifier

    def phases(self, schedules: Schedules) -> list[Phase]:
        end = round(self.warm_up * schedules.main.steps)
        warm_up, main = schedules.main.part(0, end), schedules.main.part(end, schedules.main.steps)
        updates = tuple(Update(partial(self.loss_of, net)) for net in (0, 1))
        mixing = Phase("main", main, updates, views=("weak", "weak"), sample=self.divided, every_epoch=self.judge)
        return [Phase("warm-up", warm_up, self.warm_up_loss), mixing]

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) + self.peer(images)

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """The sum of both classifiers' losses."""
        log_p = torch.stack([F.log_softmax(net(batch.images).float(), dim=1) for net in (self.model, self.peer)])
        entropy = -(log_p.exp() * log_p).sum(dim=2).mean(dim=1)  # (2,)
        return sum(F.nll_loss(each, batch.labels) for each in log_p) - self.penalty * entropy.sum()

    @torch.no_grad()
    def judge(self, view: View, clock: Clock) -> None:
        """Set w by both classifiers."""
        self.eval()
        for net, clean in zip((self.model, self.peer), self.clean, strict=True):
            losses = [F.cross_entropy(net(batch.images), batch.labels, reduction="none") for batch in view.batches()]
            clean.copy_(clean_probability(torch.cat(losses)))
        self.train()

    def divided(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Rows of labelled and unlabelled examples for the first classifier, then for the second, `size` of each."""
        size = min(size, len(labels))
        pools = [pool for w in self.clean.flip(0) for pool in self.pools(w, size)]
        rows = max(len(labelled) for labelled in pools[::2]) // size
        return torch.cat([cycled(pool, rows * size, generator).view(rows, size) for pool in pools], dim=1)

    def pools(self, w: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of the labelled and of the unlabelled examples, at least `size` of each, by w, (n,)."""
        order, count = w.argsort(descending=True, stable=True), int((w > self.threshold).sum())
        return order[: max(count, size)], order[min(count, len(w) - size) :]

    def loss_of(self, net: int, batch: Batch) -> Weighted:
        """The loss of one classifier, 0 or 1, on its half of the batch."""
        weights = self.clean[:, batch.index].mean(dim=0) / len(batch.index)
        own, peer = (self.model, self.peer) if net == 0 else (self.peer, self.model)
        x, u = ([view.chunk(4)[2 * net + pool] for view in batch.views] for pool in (0, 1))
        w, labels = (each.chunk(4)[2 * net] for each in (self.clean[1 - net, batch.index, None], batch.labels))
        with torch.no_grad():
            q = mean_prediction([own], x)
            targets_x = self.sharpened(w * F.one_hot(labels, q.shape[1]) + (1 - w) * q)
            peer.eval()
            targets_u = self.sharpened(mean_prediction([own, peer], u))
            peer.train()
        u_weight = self.lambda_u * (batch.clock.epoch / self.ramp).clamp(max=1)
        loss = self.mixed_loss(own, torch.cat([*x, *u]), torch.cat([targets_x] * len(x) + [targets_u] * len(u)), u_weight)
        return Weighted(loss, weights)

    def mixed_loss(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor, u_weight: torch.Tensor) -> torch.Tensor:
        """The loss on mixed images, of which the first half is labelled."""
        a = torch.distributions.Dirichlet(torch.full((2,), self.alpha, device=images.device), validate_args=False).sample().max()
        partner = torch.rand(len(images), device=images.device).argsort()
        mixed, targets = (a * each + (1 - a) * each[partner] for each in (images, targets))
        log_p = F.log_softmax(net(mixed).float(), dim=1)  # (n, classes)
        x, u, targets_x, targets_u = *log_p.chunk(2), *targets.chunk(2)
        balance = -(log_p.logsumexp(dim=0) - math.log(len(log_p) / log_p.shape[1])).mean()  # -mean_k log(K mean p_k)
        return F.cross_entropy(x, targets_x) + u_weight * F.mse_loss(u.exp(), targets_u) + balance

    def sharpened(self, p: torch.Tensor) -> torch.Tensor:
        """p^(1 / temperature), normalised, (n, classes)."""
        return F.softmax(p.log() / self.temperature, dim=1)


def mean_prediction(nets: list[nn.Module], views: list[torch.Tensor]) -> torch.Tensor:
    """The mean softmax of all classifiers on all views, (n, classes)."""
    return torch.stack([F.softmax(net(view).float(), dim=1) for net in nets for view in views]).mean(dim=0)


def clean_probability(losses: torch.Tensor) -> torch.Tensor:
    """Of each of `losses`, (n,), the probability that it is of the component of lower mean."""
    from sklearn.mixture import GaussianMixture  # half a second to import

    finite = losses.double().nan_to_num()  # a trial that diverges ends at its next evaluation
    scaled = (finite - finite.min()) / (finite.max() - finite.min()).clamp(min=1e-12)
    x = scaled[:, None].cpu().numpy()
    mixture = GaussianMixture(2, tol=1e-2, max_iter=10, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten iterations are enough, converged or not
        p = mixture.fit(x).predict_proba(x)
    return torch.from_numpy(p[:, mixture.means_.argmin()]).to(losses)
