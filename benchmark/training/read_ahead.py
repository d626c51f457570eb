"""The images of the next minibatches, read from a mapped file while a step computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from datasets.mapped import Mapped

AHEAD = 6  # minibatches
READERS = 3  # threads: the disk reads one minibatch while another one is copied


class ReadAhead:
    """Reads the minibatches of an epoch in its own threads, up to AHEAD of them before they are requested.

    images: of all examples; rows: positions of each minibatch, int64 (rows, width)
    The result of `read` depends only on these and on the row, so there is no state to save or restore.
    """

    def __init__(self, images: Mapped, rows: torch.Tensor) -> None:
        self._images, self._rows = images, rows.cpu()
        self._threads = ThreadPoolExecutor(READERS, "read ahead")
        self._reading: deque[Future[torch.Tensor]] = deque()
        self._next = 0  # the row that the first of them reads

    def read(self, row: int) -> torch.Tensor:
        """Return the images of a row, on the host; fastest for the row after the last one. Raises the errors of reading."""
        if row != self._next:
            self._forget()
            self._next = row
        while len(self._reading) <= AHEAD and self._next + len(self._reading) < len(self._rows):
            self._reading.append(self._threads.submit(self._images.read, self._rows[self._next + len(self._reading)]))
        self._next += 1
        return self._reading.popleft().result()

    def close(self) -> None:
        """End the threads."""
        self._forget()
        self._threads.shutdown()

    def _forget(self) -> None:
        for reading in self._reading:
            reading.cancel()
        self._reading.clear()
