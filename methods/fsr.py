"""Reweighting by a look-ahead of the last layer alone: the weights of fast sample reweighting (FSR), with a clean set."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, View, Weighted, normalised
from methods.meta_gradient import clean_gradient, gradient, logits_along, lookahead, slopes, still_running_averages
from methods.parts import TwoParts, two_parts
from methods.registry import register
from methods.schedules import Schedules
from methods.shares import split
from robust_benchmark.errors import at_least, in_range


@register
class FSR(Method):
    """Weights as in L2RW, with gradients by the last layer (W, b) alone, after a step of this layer.

        (W^, b^) = (W, b) - step grad 1/n sum_i f_i;   (V, v) = gradient of the mean loss of a clean batch at (W^, b^)
        u_i = <p_i - onehot(y_i), V h_i + v>,   h_i: features, p_i: prediction at (W, b)
        loss = sum_i w_i f_i,   w_i = max(u_i, 0) / sum_k max(u_k, 0)

    u_i is exactly the derivative of f_i along (V, v). A step costs a plain one and a forward pass of the clean images, with the
    statistics of their batch in batch norm: 0.48 of a step of L2RW on ResNet-32. A warm-up minimises the mean of f_i.

    clean_batch_size: clean images per step, at least 1, at most the whole clean set
    step: of the look-ahead, at least 0; 0 takes the clean gradient at (W, b), which is L2RW of the last layer
    warm_up: share of training, in [0, 1]; 0.1 is the authors' 20 epochs for noise, as a share of 200, which was not verified

    Needs: the clean set, and a model with `features`. This is the reweighting alone. The published method sees no clean set: it keeps a
    dictionary of training images with large decreases of the loss, and adds mixup and a loss on averaged predictions. Its code also has
    momentum in the look-ahead, and weight decay in the clean loss.
    Source: Zhang and Pfister, "Learning Fast Sample Re-weighting Without Reward Data", ICCV 2021; defaults from its released code.
    """

    needs = Knowledge.CLEAN_SET
    model: TwoParts

    def __init__(self, clean_batch_size: int = 200, step: float = 0.1, warm_up: float = 0.1) -> None:
        super().__init__()
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 1))
        self.step = at_least("step", step, 0)
        self.warm_up = in_range("warm_up", warm_up, 0, 1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = two_parts(make_model(), "fsr")

    def phases(self, schedules: Schedules) -> list[Phase]:
        warm_up, main = split(schedules.main, self.warm_up)
        return [Phase("warm-up", warm_up, self.warm_up_loss), Phase("main", main, self.loss)]

    def warm_up_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def loss(self, batch: Batch) -> Weighted:
        z, u = self.logits_and_slopes(batch, batch.draw_clean(self.clean_batch_size))
        weights = normalised(u.clamp(min=0))
        return Weighted((weights * F.cross_entropy(z, batch.labels, reduction="none")).sum(), weights)

    def logits_and_slopes(self, batch: Batch, clean: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z, (n, K), with its graph, and u, (n,), without one."""
        with torch.no_grad(), still_running_averages(self.model):
            clean_features = self.model.features(clean.images)
        features, layer = self.model.features(batch.images), self.model.output
        ahead, _ = lookahead(layer, gradient(layer, features.detach(), lambda z: F.cross_entropy(z, batch.labels)), self.step)
        z, dz = logits_along(layer, features, clean_gradient(layer, clean_features, clean.labels, at=ahead))
        return z, slopes(z, dz, batch.labels)
