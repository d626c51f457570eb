"""mixup: training on weighted means of two images and their labels."""

import torch
import torch.nn.functional as F

from methods.base import Batch, MakeModel, Method, View
from methods.registry import register
from methods.semi_supervised import mixed
from robust_benchmark.errors import at_least


@register
class Mixup(Method):
    """Each image is mixed with a random partner of its batch, and its label with the label of the partner.

        x = w x_i + (1 - w) x_j,   loss = 1/n sum_i w CE(x, y_i) + (1 - w) CE(x, y_j),   w ~ Beta(alpha, alpha), one draw per batch

    The partners are a random permutation of the batch. For random permutations, w and 1 - w give batches of the same distribution, so
    the larger of the two is used for x_i.

    alpha: both parameters of the beta distribution, at least 0.1, because draws underflow below; a larger value gives w closer to 1/2

    Needs: nothing beyond noisy labels. Default: the released code's value for CIFAR-10. For wrong labels, the paper uses 8 and 32; which
    value belongs to which noise is not verified.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = at_least("alpha", alpha, 0.1)

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.num_classes = view.num_classes

    def loss(self, batch: Batch) -> torch.Tensor:
        targets = F.one_hot(batch.labels, self.num_classes).to(batch.images.dtype)
        images, targets = mixed(batch.images, targets, self.alpha)
        return F.cross_entropy(self.model(images), targets)
