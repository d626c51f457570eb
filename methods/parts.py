"""The two parts of a classifier, for methods that treat them differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from robust_benchmark.errors import UserError


class TwoParts(nn.Module):
    """What such methods rely on: the logits of `images` are output(features(images)). Any module that has both may stand for it."""

    output: nn.Linear

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features, (n, d), of normalised images; d is `output.in_features`."""
        raise NotImplementedError


def two_parts(model: nn.Module, method: str) -> TwoParts:
    """The model itself. Raises UserError, which names the method, for a model without `features` or with another kind of `output`."""
    if not callable(getattr(model, "features", None)) or not isinstance(getattr(model, "output", None), nn.Linear):
        raise UserError(f"{method} needs a model with `features` and a linear layer `output`, which {type(model).__name__} does not have")
    return cast(TwoParts, model)


@contextmanager
def evaluation_form(module: nn.Module) -> Iterator[None]:
    """Within it, batch norm uses its running averages, which do not move, and dropout drops nothing."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
