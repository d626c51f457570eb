"""Several trials side by side on one device, each isolated from the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch

Turns = Iterator[None]
ENDED = object()


def take_turns(trials: Iterable[Turns], width: int, device: torch.device) -> None:
    """Run all `trials` to their ends, one step of each in turn, up to `width` side by side; others start as lanes become free."""
    running: deque[tuple[Lane, Turns]] = deque()
    for trial in trials:
        running.append((Lane(device), trial))
        while len(running) >= width:
            _next_turn(running)
    while running:
        _next_turn(running)


def _next_turn(running: deque[tuple[Lane, Turns]]) -> None:
    lane, trial = running.popleft()
    with lane.turn():
        ended = next(trial, ENDED) is ENDED
    if not ended:
        running.append((lane, trial))


class Lane:
    """One trial's copy of state that torch has once per process: random state and, on CUDA, the stream of work."""

    def __init__(self, device: torch.device) -> None:
        self._random = torch.get_rng_state()
        self._cuda = _CudaLane(device) if device.type == "cuda" else None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Context in which the trial draws its own random numbers, and its work on the device waits for no other trial's."""
        others = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            with self._cuda.turn() if self._cuda else nullcontext():
                yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(others)


class _CudaLane:
    """Swaps the default generator as a whole, because captured graphs refer to the generator of their capture."""

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.init()
        self._default = torch.cuda.default_generators[index]
        self._generator = self._default.clone_state()
        self._stream = torch.cuda.Stream(index)

    @contextmanager
    def turn(self) -> Iterator[None]:
        others = self._default.graphsafe_get_state()
        self._default.graphsafe_set_state(self._generator)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._generator = self._default.graphsafe_get_state()  # a different one after a failed capture
            self._default.graphsafe_set_state(others)
