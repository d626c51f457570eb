"""Class-balanced minibatches."""

import torch

from methods.baseline import Baseline
from methods.registry import register


@register
class Resample(Baseline):
    """Draws every minibatch with equal numbers of each label, so that rare ones repeat.

    Source: the Resample baseline of Ren et al., ICML 2018, section 4.1.
    """

    def batches(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        present = labels.unique()
        count = max(1, len(labels) // size)
        slots = torch.arange(count * size, device=labels.device)
        order = torch.empty_like(slots)
        for turn, label in enumerate(present):
            mine = slots[turn :: len(present)]  # slot s takes the next example of label s modulo K
            members = torch.nonzero(labels == label).flatten()
            order[mine] = _cycled(members, len(mine), generator)
        return order.view(count, size)


def _cycled(members: torch.Tensor, length: int, generator: torch.Generator) -> torch.Tensor:
    """`length` of `members`, each as often as the others give or take one, in random order round by round."""
    rounds = -(-length // len(members))
    keys = torch.rand(rounds, len(members), device=members.device, generator=generator)
    return members[keys.argsort(dim=1)].flatten()[:length]
