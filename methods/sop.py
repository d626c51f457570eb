"""Sparse variables of each example that explain its wrong label beside the classifier (SOP, SOP+)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted
from methods.registry import register
from methods.schedules import Schedules
from methods.transition import single
from robust_benchmark.errors import at_least

BATCH = 128  # of the authors, whose rates of u and v hold for gradients of a mean over so many examples
SMALLEST = 1e-4  # of corrected probabilities, before they are normalised


@register
class SOP(Method):
    """Over-parameterised label noise: u_i adds to the label's probability, and v_ik takes away that of another class k.

        U = clamp(u^2 e_y, 0, 1),   V = clamp(v^2 (1 - e_y), 0, 1),   ph = a / sum a,   a = max(p + U - V, 1e-4)
        L = mean of -log ph_y  +  mean of ||h + U - V - e_y||^2,   h: one-hot argmax p, without a gradient

    The classifier follows the first term; u follows both, v the second one alone, by plain gradient steps at rates of their own. u and v
    begin so small that only where they are pushed for many epochs do they grow: v_k by (1 + 4 lr_v / 128) a visit while the classifier
    predicts k in place of the label, so lr_v = 10 takes it from 1e-8 to 1 in 68 epochs, and lr_v = 1 in 599. Shorter trainings want a
    higher rate or a larger `sd`. The authors' gradients are of a mean over a batch; here a visit makes the step that it makes in their
    batch of 128, whatever the trainer's batch size. An example is weighed by (1 - max_k V_k) / n.

    SOP+ (conf/method/sop_plus.yaml) adds, on a weak and a strong view of each image,
        consistency KL(p(weak) || p(strong)) + balance sum_k 1/K (-log mean ph_k), without a gradient for p(weak)

    lr_u, lr_v: rates of u and v, at least 0, constant
    sd: standard deviation of their normal initial values, at least 0
    consistency, balance: weights of the terms of SOP+, at least 0; consistency above 0 asks for the strong view

    Needs: nothing beyond noisy labels; keeps (N, classes + 1) numbers. Source: Liu et al., "Robust Training under Label Noise by
    Over-parameterization", ICML 2022, and its released code, in which u follows both terms (the paper gives it the first one). The
    rates of 10 are those of another suite for CIFAR-10N; the paper's own for CIFAR-10 were not verified, and its code has 1 and 10 for
    CIFAR-100 with symmetric noise, 0.1 and 100 with asymmetric noise.
    """

    u: torch.Tensor
    v: torch.Tensor

    def __init__(self, lr_u: float = 10.0, lr_v: float = 10.0, sd: float = 1e-8, consistency: float = 0.0, balance: float = 0.0) -> None:
        super().__init__()
        self.lr_u, self.lr_v, self.sd = at_least("lr_u", lr_u, 0), at_least("lr_v", lr_v, 0), at_least("sd", sd, 0)
        self.consistency, self.balance = at_least("consistency", consistency, 0), at_least("balance", balance, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        n, classes = len(view.labels), view.num_classes
        self.register_buffer("u", self.sd * torch.randn(n))
        self.register_buffer("v", self.sd * torch.randn(n, classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        views = ("weak", "strong") if self.consistency else ("weak",)
        return [Phase("main", schedules.main, self.loss, views=views)]

    def loss(self, batch: Batch) -> Weighted:
        logits = single(self.model(batch.images))
        p, e = F.softmax(logits, dim=1), F.one_hot(batch.labels, logits.shape[1]).to(logits)
        u, v = self.u[batch.index, None], self.v[batch.index]  # (n, 1), (n, classes)
        U, V = (u.square() * e).clamp(max=1), (v.square() * (1 - e)).clamp(max=1)
        a = (p + U - V).clamp(min=SMALLEST)
        ph = a / a.sum(dim=1, keepdim=True)
        h = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits)
        loss = -(e * ph.log()).sum(dim=1).mean() + (h + U - V - e).square().sum(dim=1).mean() + self.more(batch, logits, ph)
        self.move(batch.index, a.detach(), h, e)
        return Weighted(loss, (1 - V.amax(dim=1)) / len(V))

    @torch.no_grad()
    def move(self, index: torch.Tensor, a: torch.Tensor, h: torch.Tensor, e: torch.Tensor) -> None:
        """Gradient steps of u and v of the examples `index`, given a, h and one-hot labels, (n, classes). Clamped values have none."""
        u, v = self.u[index], self.v[index]
        a_y, h_y = (a * e).sum(dim=1), (h * e).sum(dim=1)
        by_label = torch.where(a_y > SMALLEST, 1 / a.sum(dim=1) - 1 / a_y, 0)
        u_slope = torch.where(u.square() < 1, 2 * u * by_label + 4 * u * (h_y + u.square() - 1), 0)
        v_slope = torch.where(v.square() < 1, -4 * v * (h - v.square()) * (1 - e), 0)
        self.u[index] = u - self.lr_u / BATCH * u_slope
        self.v[index] = v - self.lr_v / BATCH * v_slope

    def more(self, batch: Batch, logits: torch.Tensor, ph: torch.Tensor) -> torch.Tensor:
        """The terms of SOP+."""
        loss = -self.balance * ph.mean(dim=0).log().mean()
        if not self.consistency:
            return loss
        log_strong = F.log_softmax(single(self.model(batch.views[1])), dim=1)
        return loss + self.consistency * F.kl_div(log_strong, F.log_softmax(logits.detach(), dim=1), reduction="batchmean", log_target=True)
