"""Losses that are a mean over examples, and the shares of the given labels for those against imbalance."""

from __future__ import annotations

import torch

from methods.base import Batch, Method, View, Weighted
from methods.probabilities import single


class ExampleLosses(Method):
    """A method whose loss is the mean of `example_losses`, so that class weights can multiply them (see `class_balanced`)."""

    def example_losses(self, batch: Batch) -> torch.Tensor:
        """Return the losses of a batch, (n,). Entry i has all terms with the label of example i, which a class weight multiplies."""
        raise NotImplementedError(f"{type(self).__name__} defines no example_losses")

    def loss(self, batch: Batch) -> torch.Tensor | Weighted:
        return self.example_losses(batch).mean()


class LogitLoss(ExampleLosses):
    """A method whose loss is the mean of `losses`, which are functions of an example's logits and label."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each example, (n,), from logits, (n, K), in single precision or higher, and labels, (n,)."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def example_losses(self, batch: Batch) -> torch.Tensor:
        return self.losses(single(self.model(batch.images)), batch.labels)


def log_shares(counts: torch.Tensor) -> torch.Tensor:
    """Return log(n_k / sum_j n_j), float64 (K,), for counts n_k, (K,). A class without examples counts as one, so that all are finite.

    >>> log_shares(torch.tensor([3, 1, 0])).exp()
    tensor([0.7500, 0.2500, 0.2500], dtype=torch.float64)
    """
    return (counts.clamp(min=1).double() / counts.sum()).log()


def counts_of(view: View) -> torch.Tensor:
    """Return the number of training examples with each given label, int64 (K,)."""
    return torch.bincount(view.labels, minlength=view.num_classes)
