"""Minibatches that draw rare classes more often than the data has them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from methods.base import Phase
from methods.baseline import Baseline
from methods.registry import register
from methods.sampling import class_balanced, cycled
from methods.schedules import Schedules
from robust_benchmark.errors import in_range


@register
class Resample(Baseline):
    """Draws labels in proportion to a power of their frequency, so rare examples repeat.

        p(label k) proportional to n_k^exponent,   n_k: number of training examples with the given label k

    At exponent 0, every minibatch has equal numbers of each label. At other exponents, these are the shares of an epoch, to less than
    one example for each label, in random order; the examples of a label take turns.

    exponent: in [0, 1]; 0, all labels alike; 0.5, square-root sampling; 1, all examples alike

    Source: the Resample baseline of Ren et al., ICML 2018, section 4.1; the exponent is from Kang et al., "Decoupling Representation and
    Classifier for Long-Tailed Recognition", ICLR 2020.
    """

    added_options: ClassVar[Mapping[str, Any]] = {"exponent": 0.0}

    def __init__(self, exponent: float = 0.0) -> None:
        super().__init__()
        self.exponent = in_range("exponent", exponent, 0, 1)

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, sample=self.tempered if self.exponent else class_balanced)]

    def tempered(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return an epoch with shares of labels in proportion to n_k^exponent."""
        present, counts = labels.unique(return_counts=True)
        rows = max(1, len(labels) // size)
        ends = counts.double().pow(self.exponent).cumsum(dim=0)
        offset = torch.rand((), device=labels.device, generator=generator)  # systematic sampling: each expectation is exact
        ends = (ends / ends[-1] * rows * size + offset).floor().long()
        quotas = ends.diff(prepend=ends.new_zeros(1)).tolist()
        members = [torch.nonzero(labels == label).flatten() for label in present]
        parts = [cycled(each, quota, generator) for each, quota in zip(members, quotas, strict=True) if quota]
        order = torch.randperm(rows * size, device=labels.device, generator=generator)
        return torch.cat(parts)[order].view(rows, size)
