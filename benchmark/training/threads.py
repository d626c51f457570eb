"""The number of threads of a trial on a CPU: one, so that its numbers do not depend on the number of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CPU = torch.device("cpu")


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Context in which torch computes with one thread, on a CPU and unless OMP_NUM_THREADS is set; afterwards with the previous number."""
    before = torch.get_num_threads()
    _set_threads(1 if device.type == "cpu" and not os.environ.get("OMP_NUM_THREADS") else before)
    try:
        yield
    finally:
        _set_threads(before)


def _set_threads(count: int) -> None:
    if count != torch.get_num_threads():  # even a call that changes nothing creates a pool of threads
        torch.set_num_threads(count)
