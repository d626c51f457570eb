"""Losses that are functions of an example's logits and label, and the shares of the given labels for those against imbalance."""

from __future__ import annotations

import torch

from methods.base import Batch, Method, View, Weighted
from methods.probabilities import single


class LogitLoss(Method):
    """A method whose loss is the mean of `losses` over the batch, so that class weights can multiply it (see `class_balanced`)."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each example, (n,), from logits, (n, K), in single precision or higher, and labels, (n,)."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def loss(self, batch: Batch) -> torch.Tensor | Weighted:
        return self.losses(single(self.model(batch.images)), batch.labels).mean()


def log_shares(counts: torch.Tensor) -> torch.Tensor:
    """Return log(n_k / sum_j n_j), float64 (K,), for counts n_k, (K,). A class without examples counts as one, so that all are finite.

    >>> log_shares(torch.tensor([3, 1, 0])).exp()
    tensor([0.7500, 0.2500, 0.2500], dtype=torch.float64)
    """
    return (counts.clamp(min=1).double() / counts.sum()).log()


def counts_of(view: View) -> torch.Tensor:
    """Return the number of training examples with each given label, int64 (K,)."""
    return torch.bincount(view.labels, minlength=view.num_classes)
