"""AUM (Pleiss et al., NeurIPS 2020): margins and the threshold, in plain loops."""

from __future__ import annotations

import numpy as np

from tests.references import Array


def margin(logits: Array, label: int) -> float:
    """The label's logit less the largest other one, of one example, (K,)."""
    return float(logits[label] - max(value for k, value in enumerate(logits) if k != label))


def bad(aum: Array, threshold_samples: list[int], percentile: float = 99.0) -> list[bool]:
    """Which examples have an area below that percentile of the threshold samples'."""
    threshold = np.percentile(aum[threshold_samples], percentile)
    return [bool(value < threshold) for value in aum]
