"""The two parts of a classifier, for methods that treat them differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from robust_benchmark.errors import UserError


class TwoParts(nn.Module):
    """The interface that such methods use: the logits of `images` are output(features(images)). Any module with both works."""

    output: nn.Linear

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, (n, d), of normalised images; d is `output.in_features`."""
        raise NotImplementedError


def two_parts(model: nn.Module, method: str) -> TwoParts:
    """Return the model itself. Raises UserError, which names the method, if it lacks `features` or has another kind of `output`."""
    if not callable(getattr(model, "features", None)) or not isinstance(getattr(model, "output", None), nn.Linear):
        raise UserError(f"{method} needs a model with `features` and a linear layer `output`, which {type(model).__name__} does not have")
    return cast(TwoParts, model)


@contextmanager
def evaluation_form(module: nn.Module) -> Iterator[None]:
    """Context in which batch norm uses its running averages, which do not change, and dropout drops nothing."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
