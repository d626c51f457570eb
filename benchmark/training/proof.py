"""The proof of a capture of training steps before use: from the same state, it must give the results of eager steps."""

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
PROOF_STEPS = 2  # a graph that keeps the first batch, learning rate or random numbers fails at the second step
REPEATS = 2  # eager runs of the steps, and the same number again if these differ
FACTOR = 4  # if eager runs differ, a replay may differ by this multiple of their spread


@dataclass(frozen=True)
class Steps:
    """Steps of training: the host's part and then the device's part of each.

    method: the method to train
    prepare: the host's part of a step, by its distance from the next one, with its own learning rate
    work: the device's part, the same at every step, on tensors at fixed addresses
    save: everything that steps change, by name, except tensors of the method that its `state_dict` omits; restore: reset it in place
    generators: generators of the work in addition to the device's default one
    """

    method: nn.Module
    prepare: Callable[[int], None]
    work: Work
    save: Callable[[], State]
    restore: Callable[[State], None]
    generators: Callable[[], Sequence[torch.Generator]]


class Prover:
    """Captures steps and proves each capture. After a failure it makes no more captures, and a line on stderr gives the reason.

    capture: makes a replay from work and its generators; it may run the work. None: no captures
    active: whether captures are tried
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self.active = capture is not None

    def give_up(self, error: Exception) -> None:
        """Stop capturing because of `error`."""
        self.active = False
        lines = str(error).splitlines() or [""]
        reason = lines[0] if isinstance(error, NotCaptured) else f"the CUDA graph fails with {type(error).__name__}: {lines[0]}"
        print(f"{reason}; training goes on without graphs", file=sys.stderr)

    def proved(self, steps: Steps) -> Work | None:
        """Return a replay of the work of `steps`, or None if its proof fails. The state of training does not change."""
        try:
            return self._prove(steps)
        except Exception as error:  # training can always continue with eager steps
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
    """Return the name of the first value in which a replay differs from eager steps, or None.

    eager: states after the same steps, run once or more. If they are identical bit for bit, the replay must be identical too. Otherwise
    a tensor of the replay may differ from that of the first eager run by at most FACTOR times the larger of
        max |other eager run - first eager run|, over the tensor's elements and the eager runs, and
        eps max |first eager run|, one rounding unit of its largest finite value (0 for integers).
    All other values must be the same.
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
    """Return whether two values are equal bit for bit."""
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
    """Return the largest absolute difference of elements; two NaNs or two equal infinities do not differ."""
    one, other = one.double(), other.double()
    alike = (one == other) | (one.isnan() & other.isnan())
    return torch.where(alike, 0.0, (one - other).abs()).max().item()
