"""Named random streams, so that draws for one purpose never depend on draws for another purpose.

Every random decision of a trial (split, label noise, batch order, ...) has its own stream, keyed by the trial's seed and
the stream's name. Therefore two methods in one trial see the same split, the same flipped labels and the same batches
(common random numbers), independent of their other draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_seed(seed: int, *name: object) -> int:
    """Return a 63-bit seed for the stream `name` of trial `seed`: a hash, so neighbouring seeds are unrelated."""
    key = "/".join(map(str, (seed, *name))).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *name: object) -> np.random.Generator:
    """Return a NumPy generator for the stream `name` of trial `seed`."""
    return np.random.default_rng(stream_seed(seed, *name))


def torch_stream(device: torch.device | str, seed: int, *name: object) -> torch.Generator:
    """Return a torch generator on `device` for the stream `name` of trial `seed`."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *name))
