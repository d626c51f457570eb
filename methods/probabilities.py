"""Log-probabilities for robust losses, in single precision or higher, whatever the precision of the model is."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def single(values: torch.Tensor) -> torch.Tensor:
    """Return half-precision values in single precision, and others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_probabilities(logits: torch.Tensor, added: float = 0.0) -> torch.Tensor:
    """Return log p of logits, (n, classes); with `added`, log(p + added), which has a lower bound."""
    logits = single(logits)
    return (F.softmax(logits, dim=1) + added).log() if added else F.log_softmax(logits, dim=1)


def of_labels(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the value of each row's label, (n,), from values, (n, classes)."""
    return values.gather(1, labels[:, None]).squeeze(1)
