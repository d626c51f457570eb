"""The two parts of a classifier: `features`, from images to (n, d), and `output`, from those to logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from robust_benchmark.errors import UserError


def output_layer(model: nn.Module, method: str) -> nn.Linear:
    """The classifier's last layer, whose `in_features` is d. Raises UserError, which names the method, for a model without both parts."""
    output = getattr(model, "output", None)
    if not hasattr(model, "features") or not isinstance(output, nn.Linear):
        raise UserError(f"{method} needs a model with `features` and a linear layer `output`, which {type(model).__name__} does not have")
    return output


@contextmanager
def evaluation_form(module: nn.Module) -> Iterator[None]:
    """Within it, batch norm uses its running averages, which do not move, and dropout drops nothing."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
