"""Vector-scaling loss: the frequency of a class divides its logit and is added to it (VS)."""

import torch
import torch.nn.functional as F

from methods.base import MakeModel, View
from methods.logit_loss import LogitLoss, counts_of, log_shares
from methods.registry import register
from robust_benchmark.errors import at_least


@register
class VSLoss(LogitLoss):
    """Cross-entropy of logits that are divided by more, the rarer their class, and to which log frequencies are added.

        loss = 1/n sum_i CE(z_i / D + tau log pi, y_i),   D_k = (max_j n_j / n_k)^gamma,   pi_k = n_k / sum_j n_j;   prediction: z

    n_k: number of training examples with the given label k; a class without examples counts as one. For linear models on separable data,
    the added term has no effect at the end of training, and the divisors alone slow its start.

    gamma: exponent of the divisors, at least 0; 0 gives `logit_adjustment`
    tau: weight of the log frequencies, at least 0; 0 gives class-dependent temperatures (CDT)

    Needs: nothing beyond noisy labels; with wrong labels, counts are those of the given ones.
    Source: Kini et al., "Label-Imbalanced and Group-Sensitive Classification under Overparameterization", NeurIPS 2021; defaults from the
    released code, whose example for CIFAR-10 at a ratio of 100 has gamma 0.2 and tau 1.2. The published accuracies are not verified.
    """

    divisors: torch.Tensor
    adjustment: torch.Tensor

    def __init__(self, gamma: float = 0.3, tau: float = 1.0) -> None:
        super().__init__()
        self.gamma, self.tau = at_least("gamma", gamma, 0), at_least("tau", tau, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        counts = counts_of(view)
        self.register_buffer("divisors", class_divisors(counts, self.gamma).float(), persistent=False)
        self.register_buffer("adjustment", (self.tau * log_shares(counts)).float(), persistent=False)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits / self.divisors + self.adjustment, labels, reduction="none")


def class_divisors(counts: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return D, float64 (K,), for counts n_k, (K,)."""
    return (counts.max() / counts.clamp(min=1).double()) ** gamma
