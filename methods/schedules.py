"""Training of parameters: optimisers, learning rates during a phase, and the schedules of a trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

from robust_benchmark.errors import at_least, choice


@dataclass(frozen=True)
class Optimiser:
    """The update rule of parameters, with PyTorch's definitions of momentum, Nesterov momentum, Adam and AdamW.

    kind: one of KINDS; lr: None uses the phase's schedule
    momentum, nesterov: options of sgd; betas: decays of adam and adamw
    weight_decay: acts only on the weights of convolutions and linear layers (`decayed_weights`)
    """

    KINDS: ClassVar[tuple[str, ...]] = ("sgd", "adam", "adamw")

    kind: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        choice("kind of optimiser", self.kind, self.KINDS)
        at_least("lr of an optimiser", 0 if self.lr is None else self.lr, 0)


@dataclass(frozen=True)
class Schedule:
    """The steps of a phase and their learning rates: `lr` times the factors of its decays, its cosine and its warm-up.

    decay_at: steps, counted from 0; from each of these updates on, the learning rate is multiplied by `decay_factor`
    cosine: the factor falls from 1 after the warm-up to `final_share` at the end along half a cosine (Loshchilov and Hutter, ICLR 2017)
    warm_up: number of steps in which the factor rises from 1 / warm_up to 1 in equal increments
    begin, curve_steps: for a part, its first step on the curve and the length of the curve, to which decay_at, cosine and warm_up refer
    """

    steps: int = 1000
    lr: float = 0.1
    decay_at: tuple[int, ...] = ()
    decay_factor: float = 0.1
    cosine: bool = False
    final_share: float = 0.0
    warm_up: int = 0
    begin: int = 0
    curve_steps: int | None = None

    def lr_at(self, step: int) -> float:
        """Return the learning rate of the update `step`, counted from 0.

        >>> [Schedule(4, lr=1.0, decay_at=(2,)).lr_at(step) for step in range(4)]
        [1.0, 1.0, 0.1, 0.1]
        >>> [round(Schedule(6, lr=1.0, cosine=True, warm_up=2).lr_at(step), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        at = self.begin + step
        lr = self.lr * self.decay_factor ** sum(at >= decay for decay in self.decay_at)
        if at < self.warm_up:
            return lr * (at + 1) / self.warm_up
        return lr * self._cosine(at) if self.cosine else lr

    def _cosine(self, at: int) -> float:
        turn = math.pi * (at - self.warm_up) / (self._curve_steps - self.warm_up)
        return self.final_share + (1 - self.final_share) * (1 + math.cos(turn)) / 2

    def part(self, begin: int, end: int) -> Schedule:
        """Return the steps [begin, end) as their own schedule on the same curve. Raises ValueError for steps outside the schedule.

        >>> Schedule(4, lr=1.0, decay_at=(2,)).part(1, 4).lr_at(1)
        0.1
        """
        if not 0 <= begin <= end <= self.steps:
            raise ValueError(f"a schedule of {self.steps} steps has no steps [{begin}, {end})")
        return replace(self, steps=end - begin, begin=self.begin + begin, curve_steps=self._curve_steps)

    @property
    def _curve_steps(self) -> int:
        return self.steps if self.curve_steps is None else self.curve_steps


@dataclass(frozen=True)
class Schedules:
    """A trainer's schedules by purpose; wrappers and special phases select theirs."""

    main: Schedule = field(default_factory=Schedule)
    early_stopping: Schedule = field(default_factory=Schedule)
    finetune: Schedule = field(default_factory=Schedule)
    clean_only: Schedule = field(default_factory=Schedule)
