"""Two classifiers with one joint loss that rewards agreement (JoCoR)."""

from methods.base import Batch, Knowledge, MakeModel, View, Weighted
from methods.coteaching import smallest
from methods.peers import Peers, kept
from methods.probabilities import log_probabilities, of_labels
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class JoCoR(Peers):
    """Both classifiers train on the examples of a batch that have the smallest joint losses.

        l_i = (1 - lam)(CE_1 + CE_2) + lam (KL(p_1 || p_2) + KL(p_2 || p_1))
        loss = mean of l_i over its k smallest,   k = floor(n - n r min(t / ramp, 1)), at least 1

    r is the noise rate and t the share of training that is done. Both divergences have gradients for both classifiers. A kept example has
    the weight 1/k. The first classifier predicts. The authors train with Adam, which ignores the scale of a loss. With momentum SGD,
    lam = 0.9 leaves a tenth of the cross-entropy, like a learning rate that is ten times lower.

    lam: share of the agreement, in [0, 1]; 0.9 is the authors' for CIFAR-10 (0.65 at 80 % symmetric noise), 0.85 for CIFAR-100
    ramp: share of training, in [1e-6, 1], after which the share left out is the noise rate; 0.05 are the authors' 10 of 200 epochs

    Needs: the noise rate, here and in the released code the share of wrong labels among all. Source: Wei et al.,
    "Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization", CVPR 2020; defaults from its README.
    """

    needs = Knowledge.NOISE_RATE

    def __init__(self, lam: float = 0.9, ramp: float = 0.05) -> None:
        super().__init__()
        self.lam = in_range("lam", lam, 0, 1)
        self.ramp = in_range("ramp", ramp, 1e-6, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.noise_rate = view.noise_rate

    def loss(self, batch: Batch) -> Weighted:
        log_p, log_q = (log_probabilities(logits) for logits in self.logits(batch.images))
        supervised = -of_labels(log_p + log_q, batch.labels)  # CE_1 + CE_2
        agreement = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1)  # both divergences
        losses = (1 - self.lam) * supervised + self.lam * agreement
        k = kept(len(losses), self.noise_rate, batch.clock.share / self.ramp)
        weights = (smallest(losses.detach(), k) / k).to(losses.dtype)
        return Weighted((weights * losses).sum(), weights)
