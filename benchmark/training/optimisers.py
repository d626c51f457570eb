"""Optimisers by their kind."""

from collections.abc import Collection, Mapping

from torch import nn

from benchmark.training.sgd import SGD
from methods.base import Optimiser

Optimising = SGD


def make(spec: Optimiser, named: Mapping[str, nn.Parameter], decayed: Collection[str], capturable: bool) -> Optimising:
    """The optimiser of these parameters, by name."""
    groups = [([p for name, p in named.items() if (name in decayed) == d], w) for d, w in ((True, spec.weight_decay), (False, 0.0))]
    return SGD(groups, spec.momentum)
