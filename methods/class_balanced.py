"""Class weights by the effective number of examples, from the start of training (class-balanced loss) or late in it (DRW)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, Phase, View, Weighted, normalised
from methods.baseline import Baseline
from methods.ldam import deferred, effective_number_weights
from methods.logit_loss import ExampleLosses, counts_of
from methods.probabilities import single
from methods.registry import register
from methods.schedules import Schedules
from methods.wrapper import Wrapper
from robust_benchmark.errors import UserError, choice, in_range


@register
class ClassBalanced(Wrapper):
    """Multiplies the loss of each example of `base` by a weight of its label.

        w_k proportional to (1 - beta) / (1 - beta^n_k), with sum_k w_k = K, from the share `begin` of training on;  w_k = 1 before
        plain mean: loss = 1/n sum_i w_{y_i} l_i;   weighted mean: loss = sum_i w_{y_i} l_i / sum_i w_{y_i}

    l_i: the loss of example i by `base`: cross-entropy for `baseline` (also resampled), or that of `focal`, `ldam`, `logit_adjustment`,
        `remix`, `vs_loss`; for `remix`, the sum of the terms with the label y_i, of both mixed images
    n_k: number of training examples with the given label k; a class without examples has the weight 0
    The example weight is w_{y_i} over n or over the sum of weights, also if `base` weights examples itself, as `focal` does. Class
    weights of `ldam` itself do not apply: those of this wrapper replace them, and its `drw` and `beta` have no effect.

    beta: from equal weights at 0 towards inverse counts, in [0, 0.999999]
    begin: the share of training after which class weights apply, in [0, 1]; 1: never
    mean: one of plain, weighted; on imbalanced data the weights are below 1 on average, so plain means smaller steps

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, with their beta for CIFAR and the plain mean
    of their code. Their focal loss uses a sigmoid for each class. Deferred re-weighting (conf/method/drw.yaml: begin 0.8, weighted mean) is
    that of Cao et al., NeurIPS 2019, who also lower the learning rate where class weights start; here this is an option of the trainer.
    """

    class_weights: torch.Tensor

    def __init__(self, base: Method, beta: float = 0.9999, begin: float = 0.0, mean: str = "plain") -> None:
        super().__init__(base)
        if not isinstance(base, ExampleLosses) and type(base).loss is not Baseline.loss:
            allowed = "baseline, focal, ldam, logit_adjustment, remix, vs_loss"
            raise UserError(f"class_balanced needs a base whose loss is a mean over examples, such as {allowed}, not {type(base).__name__}")
        self.beta = in_range("beta", beta, 0, 0.999999)
        self.begin = in_range("begin", begin, 0, 1)
        self.mean = choice("mean", mean, ("plain", "weighted"))

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        weights = effective_number_weights(counts_of(view), self.beta)
        self.register_buffer("class_weights", weights.float(), persistent=False)

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [phase.mapped(lambda _: self.loss) for phase in super().phases(schedules)]

    def loss(self, batch: Batch) -> Weighted:
        weights = deferred(self.class_weights, self.begin, batch)
        weights = normalised(weights) if self.mean == "weighted" else weights / len(weights)
        return Weighted((weights * self._losses(batch)).sum(), weights)

    def _losses(self, batch: Batch) -> torch.Tensor:
        if isinstance(self.base, ExampleLosses):
            return self.base.example_losses(batch)
        return F.cross_entropy(single(self.base.model(batch.images)), batch.labels, reduction="none")
