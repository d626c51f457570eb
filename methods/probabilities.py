"""Log-probabilities as robust losses need them: in single precision at least, whatever the model computes in."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def log_probabilities(logits: torch.Tensor, added: float = 0.0) -> torch.Tensor:
    """Log-softmax of logits, (n, classes); or the logarithm of the softmax plus `added`, which bounds it from below."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (F.softmax(logits, dim=1) + added).log() if added else F.log_softmax(logits, dim=1)


def of_labels(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """From each row of values, (n, classes), that of its label; (n,)."""
    return values.gather(1, labels[:, None]).squeeze(1)
