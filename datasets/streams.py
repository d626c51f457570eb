"""Named random streams, so that one trial's draws never depend on another purpose's draws.

Every random decision of a trial (split, label noise, batch order, ...) has a stream of its own, keyed by the trial's seed and
the stream's name. Two methods in one trial therefore meet the same split, the same flipped labels and the same batches
(common random numbers), whatever else each of them draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_seed(seed: int, *name: object) -> int:
    """A 63-bit seed for the stream `name` of trial `seed`: a hash, so neighbouring seeds are unrelated."""
    key = "/".join(map(str, (seed, *name))).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *name: object) -> np.random.Generator:
    """A NumPy generator for the stream `name` of trial `seed`."""
    return np.random.default_rng(stream_seed(seed, *name))


def torch_stream(device: torch.device | str, seed: int, *name: object) -> torch.Generator:
    """A torch generator on `device` for the stream `name` of trial `seed`."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *name))
