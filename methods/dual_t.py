"""Forward correction with a transition matrix that is estimated in two factors (Dual-T)."""

import torch

from methods.forward import Forward
from methods.registry import register
from methods.transition import anchor_matrix, confusion_shares


@register
class DualT(Forward):
    """Forward correction, T = A B: from the true class to the class that a plain classifier predicts, and from that to the given label.

        A: the anchor-point estimate of `forward`,   B[l, j] = share of given label j among training examples predicted as l

    B is a count, so only A contains the errors of predicted probabilities. A class that is never predicted has B[l, l] = 1; the released
    code has a row of zeros. Phases and loss are those of `forward`. The product is close to the true matrix if the classifier is
    overconfident, because A is then close to the identity. If its probabilities are right, A and B both equal the true matrix, and T is
    its square.

    percentile: of p(i | x), above 0, at most 100: the anchor point of class i is the largest below it; 100 takes the largest of all

    Needs: nothing beyond noisy labels. Source: Yao et al., "Dual T: Reducing Estimation Error for Transition Matrix in Label-noise
    Learning", NeurIPS 2020; percentile of its released code, which trains the estimating classifier for 20 epochs at a learning rate of
    0.01 without momentum; here it has the main schedule.
    """

    def __init__(self, percentile: float = 97.0) -> None:
        super().__init__(percentile=percentile)

    def estimate(self, p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return anchor_matrix(p, self.percentile) @ confusion_shares(p, labels)
