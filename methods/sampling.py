"""Ways to draw one epoch of minibatches: positions, int64 (rows, width), from the given labels, (n,), a batch size and a generator."""

from __future__ import annotations

import torch


def uniform(labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """A random order without repeats; its last n modulo `size` positions are left out."""
    order = torch.randperm(len(labels), device=labels.device, generator=generator)
    size = min(size, len(order))
    return order[: len(order) // size * size].view(-1, size)


def class_balanced(labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Equal numbers of each label in every minibatch, so that rare ones repeat."""
    present = labels.unique()
    count = max(1, len(labels) // size)
    slots = torch.arange(count * size, device=labels.device)
    order = torch.empty_like(slots)
    for turn, label in enumerate(present):
        mine = slots[turn :: len(present)]  # slot s takes the next example of label s modulo K
        members = torch.nonzero(labels == label).flatten()
        order[mine] = cycled(members, len(mine), generator)
    return order.view(count, size)


def cycled(members: torch.Tensor, length: int, generator: torch.Generator) -> torch.Tensor:
    """`length` of `members`, each as often as the others give or take one, in random order round by round."""
    rounds = -(-length // len(members))
    keys = torch.rand(rounds, len(members), device=members.device, generator=generator)
    return members[keys.argsort(dim=1)].flatten()[:length]


def divided(w: torch.Tensor, threshold: float, least: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of w, (n,), above the threshold and of the others, each at least `least`; those nearest to the threshold fill up a pool."""
    order, count = w.argsort(descending=True, stable=True), int((w > threshold).sum())
    return order[: max(count, least)], order[min(count, len(w) - least) :]
