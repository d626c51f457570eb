"""Two classifiers that choose each other's examples among those on which they disagree (Co-teaching+)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, View, Weighted
from methods.coteaching import smallest
from methods.peers import Peers, disagree, kept
from methods.registry import register
from robust_benchmark.errors import in_range


@register
class CoteachingPlus(Peers):
    """Co-teaching within the disagreements: each classifier trains on those of smallest loss for the other one.

        D = { i : argmax p_1(x_i) != argmax p_2(x_i) }, or all examples of the batch if there are none
        loss = mean of CE_1 over the k smallest CE_2 in D + mean of CE_2 over the k smallest CE_1 in D
        k = floor(|D| - |D| r min(t / ramp, 1)), at least 1;   r: noise rate,   t: share of training that is done

    In a warm-up, D is the whole batch, which is `coteaching`. An example is weighed by 1 / (2k) for each classifier that trains on it. The
    first classifier predicts.

    warm_up: share of training, in [0, 1]; 0.1 are the authors' 20 of 200 epochs on CIFAR-10 (they take 5 on CIFAR-100, none on MNIST)
    ramp: share of training, in [1e-6, 1], after which the share left out is the noise rate; 0.05 are the authors' 10 of 200 epochs

    Needs: the noise rate. Source: Yu et al., "How does Disagreement Help Generalization against Label Corruption?", ICML 2019. This code
    differs from the released code, which takes the softmax twice after the warm-up, divides a mean loss by k again, and
    never trains on the first example of the data.
    """

    needs = Knowledge.NOISE_RATE

    def __init__(self, warm_up: float = 0.1, ramp: float = 0.05) -> None:
        super().__init__()
        self.warm_up = in_range("warm_up", warm_up, 0, 1)
        self.ramp = in_range("ramp", ramp, 1e-6, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.noise_rate = view.noise_rate

    def loss(self, batch: Batch) -> Weighted:
        first, second = self.logits(batch.images)
        differ = disagree(first, second)
        among = differ | ~differ.any() | (batch.clock.share < self.warm_up)
        k = kept(among.sum(), self.noise_rate, batch.clock.share / self.ramp)
        losses = [F.cross_entropy(logits, batch.labels, reduction="none") for logits in (first, second)]
        chosen = [smallest(torch.where(among, each.detach(), torch.inf), k) / k for each in losses]  # by the classifier with these losses
        loss = (chosen[1] * losses[0]).sum() + (chosen[0] * losses[1]).sum()
        return Weighted(loss, (chosen[0] + chosen[1]) / 2)
