"""The interface between a method and the trainer: a method is a few phases of a loss."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from datasets.task import Examples, Task
from robust_benchmark.errors import UserError


class Knowledge(enum.Flag):
    """What a method may see beyond noisy labels. Tables group methods by it."""

    NONE = 0
    CLEAN_SET = enum.auto()
    NOISE_RATE = enum.auto()
    TRANSITION_MATRIX = enum.auto()
    TRUE_LABELS = enum.auto()

    def names(self) -> list[str]:
        """Lower-case names of what is in it, as records keep them.

        >>> (Knowledge.CLEAN_SET | Knowledge.NOISE_RATE).names()
        ['clean_set', 'noise_rate']
        """
        return [str(flag.name).lower() for flag in self]


class UndeclaredKnowledge(UserError):
    """A method asked for something that its `needs` does not declare."""


@dataclass(frozen=True)
class Optimiser:
    """How parameters are updated; PyTorch's definitions of momentum, Nesterov's momentum, Adam and AdamW.

    kind: one of KINDS; lr: None is the phase's schedule
    momentum, nesterov: of sgd; betas: of adam and adamw
    weight_decay: acts on the weights of convolutions and linear layers alone (`decayed_weights`)
    """

    KINDS: ClassVar[tuple[str, ...]] = ("sgd", "adam", "adamw")

    kind: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Schedule:
    """Steps of a phase and the learning rate along them: `lr` times the factors of its decays, its cosine and its warm-up.

    decay_at: steps, counted from 0, whose update is the first at a learning rate `decay_factor` times lower
    cosine: from 1 after the warm-up to `final_share` at the end along half a cosine (Loshchilov and Hutter, ICLR 2017), at each step
    warm_up: steps along which the factor rises from 1 / warm_up to 1 in equal increments
    begin, curve_steps: of a part, its first step on the curve and the steps of the curve, on which decay_at, cosine and warm_up lie
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
        """Learning rate of the update `step`, counted from 0.

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
        """The steps [begin, end) as a schedule of their own on the same curve. Raises ValueError for steps that it does not have.

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
    """A trainer's schedules, by what they are for; wrappers and special phases pick theirs."""

    main: Schedule = field(default_factory=Schedule)
    early_stopping: Schedule = field(default_factory=Schedule)
    finetune: Schedule = field(default_factory=Schedule)
    clean_only: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True)
class Batch:
    """A minibatch as the model sees it.

    images: float32 (n, channels, height, width), augmented and normalised
    labels: int64 (n,), as the training set has them (perhaps wrong)
    index: int64 (n,), positions in the training set, for methods that keep state for each example
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor
    _draw_clean: Callable[[int], Batch] | None = None

    def draw_clean(self, size: int) -> Batch:
        """A fresh minibatch of at most `size` images of the clean set. Raises UndeclaredKnowledge without CLEAN_SET."""
        if self._draw_clean is None:
            raise UndeclaredKnowledge("the clean set was asked for without Knowledge.CLEAN_SET in `needs`")
        return self._draw_clean(size)


@dataclass(frozen=True)
class View:
    """What one method may see of a Task: everything public, and of the rest what `needs` declares.

    batches: the training set in order, in evaluation form (no augmentation)
    """

    needs: Knowledge
    num_classes: int
    labels: torch.Tensor
    batches: Callable[[], Iterator[Batch]]
    _task: Task

    def _guarded(self, knowledge: Knowledge, what: str) -> Task:
        if knowledge not in self.needs:
            raise UndeclaredKnowledge(f"{what} was asked for without Knowledge.{knowledge.name} in `needs`")
        return self._task

    @property
    def noise_rate(self) -> float:
        """Share of examples picked for relabelling."""
        return self._guarded(Knowledge.NOISE_RATE, "the noise rate").noise_rate

    @property
    def transition_matrix(self) -> torch.Tensor:
        """float64 (classes, classes), T[i, j] = p(noisy label j | true label i)."""
        return self._guarded(Knowledge.TRANSITION_MATRIX, "the transition matrix").transition_matrix

    @property
    def clean_set(self) -> Examples:
        """The clean set, as stored (uint8)."""
        return self._guarded(Knowledge.CLEAN_SET, "the clean set").clean

    @property
    def true_labels(self) -> torch.Tensor:
        """int64 (n,), the training set's true labels."""
        return self._guarded(Knowledge.TRUE_LABELS, "the true labels").train.true_labels


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    loss: scalar to minimise, of a batch
    on_clean: draws its batches from the clean set (needs CLEAN_SET) instead of the noisy training set
    before: called once with the method's View when the phase begins
    """

    name: str
    schedule: Schedule
    loss: Callable[[Batch], torch.Tensor]
    on_clean: bool = False
    before: Callable[[View], None] | None = None


class Method(nn.Module):
    """A robust-training method. Subclasses override `loss`, and what else differs from plain training.

    The arguments of a subclass's `__init__`, with types and defaults, are its configuration. The model arrives later, by `setup`.

    added_options: options added since records of this method were first kept, each with the value it had in effect before; at that value
        an option is no part of a record's identity, so that older records are still found
    example_weights: what the last `loss` weighed its examples by, (n,), set by methods that weigh or select examples; the suite measures
        how well they find the wrong labels
    """

    needs: Knowledge = Knowledge.NONE
    added_options: ClassVar[Mapping[str, Any]] = {}
    model: nn.Module
    example_weights: torch.Tensor | None = None

    def __init__(self) -> None:
        super().__init__()

    def setup(self, make_model: Callable[[], nn.Module], view: View) -> None:
        """Build what is trained. `make_model` makes a new classifier, whose logits have shape (n, num_classes)."""
        self.model = make_model()

    def phases(self, schedules: Schedules) -> list[Phase]:
        """The phases of training, in order; one on the noisy training set by default."""
        return [Phase("main", schedules.main, self.loss)]

    def batch_size(self, default: int) -> int:
        """Examples drawn a step."""
        return default

    def batches(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """One epoch of batches, as positions in the training set, int64 (batches, size); by default a random order without repeats.

        labels: noisy, (n,), on the generator's device. The last n modulo `size` of an order are left out.
        """
        order = torch.randperm(len(labels), device=labels.device, generator=generator)
        size = min(size, len(order))
        return order[: len(order) // size * size].view(-1, size)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, (n, num_classes), of normalised images."""
        return self.model(images)


def normalised(weights: torch.Tensor) -> torch.Tensor:
    """Non-negative weights, (n,), scaled to sum to 1; all-zero weights stay zero (Eq. 9 of Ren et al., 2018).

    >>> normalised(torch.tensor([1.0, 3.0])), normalised(torch.zeros(2))
    (tensor([0.2500, 0.7500]), tensor([0., 0.]))
    """
    total = weights.sum()
    return weights / torch.where(total == 0, 1, total)  # no `if`: it would make the device wait


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """sum_i w_i CE_i, a scalar; weights of 1/n make the ordinary mean."""
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()


def decayed_weights(model: nn.Module) -> list[str]:
    """Names of the parameters that weight decay acts on: the weights of convolutions and linear layers, neither biases nor norms."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return [f"{prefix}.weight".lstrip(".") for prefix, module in model.named_modules() if isinstance(module, kinds)]
