"""Sampling of one epoch of minibatches: positions, int64 (rows, width), from the given labels, (n,), a batch size and a generator."""

from __future__ import annotations

import torch


def uniform(labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return a random order without repeats; the last n modulo `size` positions are dropped."""
    order = torch.randperm(len(labels), device=labels.device, generator=generator)
    size = min(size, len(order))
    return order[: len(order) // size * size].view(-1, size)


def class_balanced(labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return minibatches with equal numbers of each label, so rare examples repeat."""
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
    """Return `length` of `members`, in random order round by round; their counts differ by at most one."""
    rounds = -(-length // len(members))
    keys = torch.rand(rounds, len(members), device=members.device, generator=generator)
    return members[keys.argsort(dim=1)].flatten()[:length]


def divided(w: torch.Tensor, threshold: float, least: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return positions of w, (n,), above the threshold and of the others, at least `least` each; the nearest to the threshold fill one."""
    order, count = w.argsort(descending=True, stable=True), int((w > threshold).sum())
    return order[: max(count, least)], order[min(count, len(w) - least) :]
