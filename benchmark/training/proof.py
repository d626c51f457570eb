"""A capture of training steps proves itself before it is used: from the same state, it leaves what eager steps leave."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.training.graphs import NotCaptured, Work, changed, fingerprint, leaves, unsaved

Capture = Callable[[Work, Sequence[torch.Generator]], Work]
State = dict[str, Any]
PROOF_STEPS = 2  # a graph that keeps the first one's batch, learning rate or random numbers goes wrong at the second
REPEATS = 2  # eager runs of them, and as many again where these differ
FACTOR = 4  # where eager runs differ, a replay may differ by so many times their spread


@dataclass(frozen=True)
class Steps:
    """Steps of training, each the host's part and then the device's.

    method: whose steps they are
    prepare: the host's part of the step so many ahead of the next one, with a learning rate of its own
    work: the device's part, the same at every step, on tensors that stay where they are
    save: all that steps change, by name, except tensors of the method that its `state_dict` leaves out; restore: set it back in place
    generators: what the work draws from beside the device's default generator
    """

    method: nn.Module
    prepare: Callable[[int], None]
    work: Work
    save: Callable[[], State]
    restore: Callable[[State], None]
    generators: Callable[[], Sequence[torch.Generator]]


class Prover:
    """Captures steps and proves each capture. After a failure it captures nothing more, and a line on stderr gives the reason.

    capture: from work, and the generators that it draws from, makes what replays it; may do the work meanwhile. None: no captures
    active: whether captures are tried
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self.active = capture is not None

    def give_up(self, error: Exception) -> None:
        """Capture nothing more, because of `error`."""
        self.active = False
        lines = str(error).splitlines() or [""]
        reason = lines[0] if isinstance(error, NotCaptured) else f"the CUDA graph fails with {type(error).__name__}: {lines[0]}"
        print(f"{reason}; training goes on without graphs", file=sys.stderr)

    def proved(self, steps: Steps) -> Work | None:
        """A replay of the work of `steps`, or None if its proof fails. The state of training stays as it is."""
        try:
            return self._prove(steps)
        except Exception as error:  # training can always go on by eager steps
            self.give_up(error)
            return None

    def _prove(self, steps: Steps) -> Work:
        assert self._capture is not None
        start, addresses = _state(steps), fingerprint(steps.method)

        def outcome(work: Work) -> State:
            _restore(steps, start)
            for ahead in range(PROOF_STEPS):
                steps.prepare(ahead)
                work()
            return _state(steps)

        try:
            eager = [outcome(steps.work) for _ in range(REPEATS)]
            if differing(eager[:1], eager[1]) is not None:
                eager += [outcome(steps.work) for _ in range(REPEATS)]
            _restore(steps, start)
            steps.prepare(0)
            replay = self._capture(steps.work, steps.generators())
            name = differing(eager, outcome(replay)) or changed(addresses, fingerprint(steps.method))
            if name is not None:
                raise NotCaptured(f"the captured CUDA graph gives another '{name}' than eager steps")
            return replay
        finally:
            _restore(steps, start)


def _state(steps: Steps) -> State:
    return copy.deepcopy({**steps.save(), "attributes": unsaved(steps.method)})


@torch.no_grad()
def _restore(steps: Steps, state: State) -> None:
    steps.restore(state)
    for name, tensor in unsaved(steps.method).items():
        tensor.copy_(state["attributes"][name])


def differing(eager: Sequence[State], replayed: State) -> str | None:
    """The name of the first value that a replay leaves otherwise than eager steps, or None.

    eager: states after the same steps, run once or more. If they are all the same bit for bit, the replay must be the same too. If not,
    a tensor of the replay may differ from that of the first eager run by at most FACTOR times the larger of
        max |other eager run - first eager run|, over the tensor's elements and the eager runs, and
        eps max |first eager run|, one rounding unit of its largest finite value (0 for integers).
    What is not a tensor must be the same.
    """
    first, *others = [dict(leaves(state)) for state in eager]
    found = dict(leaves(replayed))
    repeats = all(_same(first[name], other.get(name)) for other in others for name in first)
    for name in first | found:
        value, replay = first.get(name), found.get(name)
        if not _same(value, replay) and (repeats or not _near(value, [other.get(name) for other in others], replay)):
            return name
    return None


def _same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and bool(one == other)
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(_bits(one), _bits(other))


def _bits(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(-1).view(torch.uint8)


def _near(value: Any, others: Sequence[Any], replay: Any) -> bool:
    if not all(isinstance(each, torch.Tensor) and each.shape == value.shape for each in (value, *others, replay)):
        return False
    unit = 0.0
    if value.is_floating_point():
        unit = torch.finfo(value.dtype).eps * value.double().abs().nan_to_num(0, 0, 0).max().item()
    spread = max(_distance(value, other) for other in others)
    return _distance(value, replay) <= FACTOR * max(spread, unit)


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference of elements; elements that are both NaN, or infinite alike, do not differ."""
    one, other = one.double(), other.double()
    alike = (one == other) | (one.isnan() & other.isnan())
    return torch.where(alike, 0.0, (one - other).abs()).max().item()
