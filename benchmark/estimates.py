"""A method's estimate of the transition matrix, from the weights that a run saved with `keep=[weights]`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.artifacts import load_model
from benchmark.records.store import Record
from benchmark.training.artifacts import place


def estimate_of(record: Record, checkpoint_dir: str | Path = ".checkpoints") -> NDArray[np.float64] | None:
    """Return T of the trial's method at the end, (classes, classes); None if no weights were kept, or if the method has no T.

    checkpoint_dir: directory of the run that saved the weights
    Raises UserError if the weights cannot be read, belong to another trial, or do not fit today's method.
    """
    if not os.path.lexists(place(checkpoint_dir, record["key"], record["seed"], "weights")):
        return None
    model = load_model(record, checkpoint_dir)
    found = (matrix_in(part) for part in model.method.modules())  # a wrapper's base is one of its parts
    size = (len(model.classes), len(model.classes))
    return next((T.numpy() for T in found if T is not None and T.shape == size), None)


@torch.no_grad()
def matrix_in(part: nn.Module) -> torch.Tensor | None:
    """Return T of a method, float64 (classes, classes), or None.

    T is the tensor `transition`, a buffer or a property, plus its correction `delta`; or the row-wise softmax of `transition_logits`.
    """
    T, logits = getattr(part, "transition", None), getattr(part, "transition_logits", None)
    if isinstance(T, torch.Tensor):
        return T.double() + getattr(part, "delta", 0)
    return logits.double().softmax(dim=1) if isinstance(logits, torch.Tensor) else None
