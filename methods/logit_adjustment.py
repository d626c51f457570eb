"""Logit adjustment: the frequency of a class enters its logit, in the loss (also known as balanced softmax) or in predictions."""

import torch
import torch.nn.functional as F

from methods.base import MakeModel, Method, View
from methods.logit_loss import LogitLoss, counts_of, log_shares
from methods.probabilities import single
from methods.registry import register
from methods.wrapper import Wrapper
from robust_benchmark.errors import at_least


@register
class LogitAdjustment(LogitLoss):
    """Cross-entropy of logits to which the log frequencies of their classes are added; predictions use the logits as they are.

        loss = 1/n sum_i CE(z_i + tau log pi, y_i),   pi_k = n_k / sum_j n_j;   prediction: z

    n_k: number of training examples with the given label k; a class without examples counts as one. At tau = 1 the minimiser of the
    loss also minimises the balanced error, the mean of the errors of classes, and the loss is balanced softmax (Ren et al., "Balanced
    Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020), which adds log n_k, log pi_k up to a constant.

    tau: weight of the log frequencies, at least 0; 0 gives cross-entropy

    Needs: nothing beyond noisy labels; with wrong labels, pi counts the given ones.
    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021. The authors train CIFAR for 1,241 epochs, so their numbers
    do not compare with tables of 200 epochs.
    """

    adjustment: torch.Tensor

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        self.tau = at_least("tau", tau, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("adjustment", (self.tau * log_shares(counts_of(view))).float(), persistent=False)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits + self.adjustment, labels, reduction="none")


@register("logit_adjustment_post_hoc")
class PostHocLogitAdjustment(Wrapper):
    """Trains `base` and subtracts the log frequencies of the classes from its logits in predictions.

        prediction: z - tau log pi,   pi_k = n_k / sum_j n_j;   z: the logits of `base`

    n_k: number of training examples with the given label k; a class without examples counts as one. No step of training changes. A
    base that already corrects for frequencies, such as `logit_adjustment`, is corrected twice.

    tau: weight of the log frequencies, at least 0; 0 gives the predictions of `base`

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
    """

    adjustment: torch.Tensor

    def __init__(self, base: Method, tau: float = 1.0) -> None:
        super().__init__(base)
        self.tau = at_least("tau", tau, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("adjustment", (self.tau * log_shares(counts_of(view))).float(), persistent=False)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return single(super().predict(images)) - self.adjustment
