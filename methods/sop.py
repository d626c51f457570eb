"""Sparse variables of each example that explain a wrong label, so that the classifier need not (SOP, SOP+)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted
from methods.probabilities import log_probabilities, single
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import at_least

BATCH = 128  # the authors' batch size, for which the rates of u and v hold
SMALLEST = 1e-4  # corrected probability, before normalisation


@register
class SOP(Method):
    """Over-parameterised label noise: u_i^2 adds to the label's probability, v_ik^2 is subtracted from that of another class k.

        U = clamp(u^2 e_y, 0, 1),   V = clamp(v^2 (1 - e_y), 0, 1),   ph = a / sum a,   a = max(p + U - V, 1e-4)
        L = mean of -log ph_y  +  mean of ||h + U - V - e_y||^2,   h: one-hot argmax p, without a gradient

    The classifier learns from the first term. u learns from both terms and v from the second only (V is a constant in the first), by plain
    gradient steps with constant rates of their own. u and v start near zero and grow slowly: v_k by a factor of 1 + 4 lr_v / 128 per visit
    while the classifier predicts k instead of the label. From 1e-8 to 1 this takes 68 epochs at lr_v = 10 and 599 at lr_v = 1, so a short
    training needs a higher rate or a larger `sd`. The authors' gradients are of a mean over a batch of 128; here a visit makes the same
    step at any batch size. The example weight is (1 - max_k V_k) / n.

    SOP+ (conf/method/sop_plus.yaml) adds, on a weak and a strong view of each image,
        consistency KL(p(weak) || p(strong)) + balance sum_k 1/K (-log mean ph_k), without a gradient for p(weak)
    u also learns from the balance term, as in the released code.

    lr_u, lr_v: learning rates of u and v, at least 0
    sd: standard deviation of their normal initial values, at least 0
    consistency, balance: weights of the terms of SOP+, at least 0; a consistency above 0 adds the strong view

    Needs: nothing beyond noisy labels; stores (N, classes + 1) numbers. Source: Liu et al., "Robust Training under Label Noise by
    Over-parameterization", ICML 2022, and its released code (in the paper, u learns from the first term only). The rates of 10 are those
    of another suite for CIFAR-10N. The paper's rates for CIFAR-10 were not verified; its code has 1 and 10 for CIFAR-100 with symmetric
    noise, and 0.1 and 100 with asymmetric noise.
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
        h = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits)
        u, v = (each[batch.index].requires_grad_() for each in (self.u, self.v))  # (n,), (n, classes)
        U, V = (u[:, None].square() * e).clamp(max=1), (v.square() * (1 - e)).clamp(max=1)
        a = (p + U - V.detach()).clamp(min=SMALLEST)
        ph = a / a.sum(dim=1, keepdim=True)
        loss = -(e * ph.log()).sum(dim=1).mean() + (h + U - V - e).square().sum(dim=1).mean()
        loss = loss - self.balance * ph.mean(dim=0).log().mean()
        self.move(batch.index, *torch.autograd.grad(loss, (u, v), retain_graph=True))
        return Weighted(loss + self.disagreement(batch, logits), (1 - V.detach().amax(dim=1)) / len(V))

    @torch.no_grad()
    def move(self, index: torch.Tensor, by_u: torch.Tensor, by_v: torch.Tensor) -> None:
        """Update u and v of the examples `index` by gradients, (n,) and (n, classes), of a mean over these examples."""
        self.u[index] -= self.lr_u * len(index) / BATCH * by_u
        self.v[index] -= self.lr_v * len(index) / BATCH * by_v

    def disagreement(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor | float:
        """Return the consistency term of SOP+, from logits of the weak view, (n, classes), or 0 without it."""
        if not self.consistency:
            return 0.0
        log_strong = log_probabilities(self.model(batch.views[1]))
        return self.consistency * F.kl_div(log_strong, F.log_softmax(logits.detach(), dim=1), reduction="batchmean", log_target=True)
