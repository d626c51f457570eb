"""Training steps one by one: eager at first, then replayed by a proved capture."""

from __future__ import annotations

from typing import Any

from benchmark.training.graphs import NotCaptured, Work, changed, fingerprint, host_random
from benchmark.training.proof import Prover, Steps

WARM_UP = 3  # eager steps before a capture: libraries choose their kernels, and the last step shows whether its work changes the host


class Stepper:
    """Takes a step at each call.

    Steps whose work changes the host are never captured, because a replay would not change it. Examples are work that counts, draws
    Python's or NumPy's random numbers, or replaces a tensor of the method.
    """

    def __init__(self, steps: Steps, prover: Prover) -> None:
        self._steps = steps
        self._prover = prover
        self._taken = 0
        self._replay: Work | None = None
        self._addresses: dict[str, Any] = {}

    def __call__(self) -> None:
        """Take the next step."""
        if self._prover.active and self._replay is None and self._taken >= WARM_UP:
            self._addresses = fingerprint(self._steps.method)
            self._replay = self._prover.proved(self._steps)
        self._steps.prepare(0)
        if self._replay is not None:
            self._replayed(self._replay)
        elif self._prover.active and self._taken == WARM_UP - 1:
            self._watched()
        else:
            self._steps.work()
        self._taken += 1

    def check(self) -> None:
        """Discard a capture whose tensors have moved or whose constants have changed, and start again with eager steps.

        Call it after any code other than a step that may change the method: a graph reads tensors at their old addresses, even in freed
        memory.
        """
        if self._replay is not None and fingerprint(self._steps.method) != self._addresses:
            self._replay = None
            self._taken = 0

    def close(self) -> None:
        """Discard the capture, if any, and its memory on the device."""
        self._replay = None

    def _watched(self) -> None:
        """Run the work, and stop capturing if it changes the host."""
        before = fingerprint(self._steps.method) | host_random()
        self._steps.work()
        name = changed(before, fingerprint(self._steps.method) | host_random())
        if name is not None:
            self._prover.give_up(NotCaptured(f"a step changes '{name}' on the host, which a CUDA graph would not"))

    def _replayed(self, replay: Work) -> None:
        """Replay the work; run it eagerly if the replay does not start."""
        try:
            replay()
        except Exception as error:  # training can continue with eager steps, as after a proof
            self._replay = None
            self._prover.give_up(error)
            self._steps.work()
