"""The interface between a method and the trainer: a method is a list of phases, and each phase has a loss."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from datasets.augment import STRENGTHS
from datasets.mapped import Images
from datasets.task import Examples, Task
from methods.sampling import uniform
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import ContractError, UserError, unknown

SOURCES = ("train", "clean")
Known = TypeVar("Known")


class Knowledge(enum.Flag):
    """The information that a method may use in addition to noisy labels. Tables group methods by it."""

    NONE = 0
    CLEAN_SET = enum.auto()
    NOISE_RATE = enum.auto()
    TRANSITION_MATRIX = enum.auto()
    TRUE_LABELS = enum.auto()
    OF_TRUTH = NOISE_RATE | TRANSITION_MATRIX | TRUE_LABELS  # unknown without true labels

    def names(self) -> list[str]:
        """Return the lower-case names of the flags, as records store them.

        >>> (Knowledge.CLEAN_SET | Knowledge.NOISE_RATE).names()
        ['clean_set', 'noise_rate']
        """
        return [str(flag.name).lower() for flag in self]


class UndeclaredKnowledge(ContractError):
    """A method requests something that its `needs` does not declare."""


class HeldOut(Exception):
    """A method with per-example state requests the positions of images that are in neither of its sources."""


def _scalar() -> torch.Tensor:
    return torch.zeros(())


@dataclass(frozen=True)
class Clock:
    """The progress of a phase, as scalars on the device, so methods need no counters of their own.

    step: int64, steps done before this one; steps: number of steps in the phase
    epoch: float32, epochs done, including the fraction of the current one
    lr: float32, the learning rate of this step
    """

    steps: int = 1
    step: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    epoch: torch.Tensor = field(default_factory=_scalar)
    lr: torch.Tensor = field(default_factory=_scalar)

    @property
    def share(self) -> torch.Tensor:
        """The share of the phase that is done, float32, in [0, 1)."""
        return self.step / self.steps


@dataclass(frozen=True)
class Batch:
    """A minibatch in the form that the model receives.

    images: float32 (n, channels, height, width), augmented and normalised; all methods of a trial share this view
    labels: int64 (n,), the labels of the source (possibly wrong)
    other_views: further augmentations of the same images, with the shape of `images`
    source: "train", "clean", or "held_out" for images that are in neither
    shared: values that an update stores for a later update of the same step; only parameters updated in between have changed
    """

    images: torch.Tensor
    labels: torch.Tensor
    _index: torch.Tensor | None = None
    _draw_clean: Callable[[int], Batch] | None = None
    other_views: tuple[torch.Tensor, ...] = ()
    source: str = "train"
    clock: Clock = field(default_factory=Clock)
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def views(self) -> tuple[torch.Tensor, ...]:
        """All views of the phase, in its order."""
        return (self.images, *self.other_views)

    @property
    def index(self) -> torch.Tensor:
        """Positions in the batch's source, int64 (n,), for methods with per-example state. Raises HeldOut without a source."""
        if self._index is None:
            raise HeldOut("held-out images have no positions")
        return self._index

    def draw_clean(self, size: int) -> Batch:
        """Draw a new minibatch of at most `size` images of the clean set. Raises UndeclaredKnowledge without CLEAN_SET."""
        if self._draw_clean is None:
            raise UndeclaredKnowledge("the clean set was asked for without Knowledge.CLEAN_SET in `needs`")
        return self._draw_clean(size)


class Weighted(NamedTuple):
    """The result of a loss that weights or selects examples; the suite measures how well the weights identify wrong labels.

    loss: scalar to minimise; example_weights: weights of the examples of the batch, (n,)
    """

    loss: torch.Tensor
    example_weights: torch.Tensor


Objective = Callable[[Batch], torch.Tensor | Weighted]
Sample = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]


def scalar(value: torch.Tensor | Weighted) -> torch.Tensor:
    """Return the scalar loss of an objective's result."""
    return value.loss if isinstance(value, Weighted) else value


def known(value: Known | None) -> Known:
    """Return a value that depends on true labels. Raises UserError if they are unknown."""
    if value is None:
        raise UserError("what was asked for derives from true labels, and this data set does not know them")
    return value


@dataclass(frozen=True)
class View:
    """The part of a Task that one method may see: all public data, and the information that `needs` declares.

    batches: the training set in order, without augmentation
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
    def images(self) -> Images:
        """The training set's images, as stored, uint8 (n, channels, height, width); `images[index]` reads some images of a mapped file."""
        return self._task.train.images

    @property
    def noise_rate(self) -> float:
        """The share of wrong labels in the training set."""
        train = self._guarded(Knowledge.NOISE_RATE, "the noise rate").train
        return known(train.wrong()) / len(train)

    @property
    def transition_matrix(self) -> torch.Tensor:
        """float64 (classes, classes), T[i, j] = p(noisy label j | true label i)."""
        return known(self._guarded(Knowledge.TRANSITION_MATRIX, "the transition matrix").transition_matrix)

    @property
    def class_priors(self) -> torch.Tensor:
        """The shares of the true labels in the training set, float64 (classes,), to which the transition matrix applies."""
        true_labels = self._guarded(Knowledge.TRANSITION_MATRIX, "the class priors").train.true_labels
        return torch.bincount(true_labels, minlength=self.num_classes).double() / len(true_labels)

    @property
    def clean_set(self) -> Examples:
        """The clean set, as stored. Its true labels are replaced by its labels, some of which may be wrong."""
        clean = self._guarded(Knowledge.CLEAN_SET, "the clean set").clean
        return replace(clean, true_labels=clean.labels)

    @property
    def true_labels(self) -> torch.Tensor:
        """The training set's true labels, int64 (n,)."""
        return self._guarded(Knowledge.TRUE_LABELS, "the true labels").train.true_labels


@dataclass(frozen=True)
class Update:
    """One part of a training step; it sees the changes of the earlier parts.

    objective: the function to minimise
    parts: dotted names of the method's modules or parameters that it changes; an empty tuple means all parameters with a gradient, which
        the trial's single optimiser updates; its momentum carries over from phase to phase
    optimiser: optimiser of the parts, with its own state, which starts with the phase; None uses the trial's kind and options
    """

    objective: Objective
    parts: tuple[str, ...] = ()
    optimiser: Optimiser | None = None

    def __post_init__(self) -> None:
        if self.optimiser is not None and not self.parts:
            raise ContractError("an update with an optimiser of its own must name its parts")


@dataclass(frozen=True)
class Phase:
    """One stage of training: everything that a method requests from the trainer.

    loss: the objective of a step, or its updates in order; the history stores the loss of the last one
    source: source of the batches: "train", or "clean" (needs CLEAN_SET)
    views: strengths of the augmentations of a batch, "none", "weak" or "strong", each with its own random numbers
    sample: returns one epoch's positions in the source, int64 (rows, width), from the given labels, (n,), the trainer's batch size and a
        generator; it may depend on the method's state; an epoch may have any number of rows, and all rows of a phase have one width
    before: called once, when the phase starts; the examples that it returns, if any, join the source for this phase
    every_epoch: called at the start of each epoch, before sampling, never within a captured graph
    """

    name: str
    schedule: Schedule
    loss: Objective | tuple[Update, ...]
    source: str = "train"
    views: tuple[str, ...] = ("weak",)
    sample: Sample = uniform
    before: Callable[[View], Examples | None] | None = None
    every_epoch: Callable[[View, Clock], None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule) or not isinstance(self.schedule.steps, int) or self.schedule.steps < 0:
            raise ContractError(f"the schedule of phase '{self.name}' must be a Schedule of a whole number of steps, not {self.schedule!r}")
        _one_of("source of a phase", self.source, SOURCES)
        if not isinstance(self.views, tuple) or not self.views:
            raise ContractError(f"the views of phase '{self.name}' must be a tuple such as ('weak', 'strong'), not {self.views!r}")
        for strength in self.views:
            _one_of("strength of a view", strength, STRENGTHS)
        updates = self.loss if isinstance(self.loss, tuple) else (self.loss,)
        if not updates or not all(isinstance(each, Update) or (callable(each) and each is self.loss) for each in updates):
            raise ContractError(f"the loss of phase '{self.name}' must be a function of a batch or a tuple of Update, not {self.loss!r}")
        for each in updates:
            if isinstance(each, Update) and not isinstance(each.parts, tuple):
                raise ContractError(f"the parts of an update in phase '{self.name}' must be a tuple of names, not {each.parts!r}")
        for name in ("sample", "before", "every_epoch"):
            if not callable(getattr(self, name)) and (name == "sample" or getattr(self, name) is not None):
                raise ContractError(f"`{name}` of phase '{self.name}' must be a function, not {getattr(self, name)!r}")

    @property
    def updates(self) -> tuple[Update, ...]:
        """The updates of a step, in order."""
        return self.loss if isinstance(self.loss, tuple) else (Update(self.loss),)

    def mapped(self, change: Callable[[Objective], Objective]) -> Phase:
        """Return the phase with `change` applied to the objective of each update that uses the trial's optimiser."""
        changed = (update if update.parts else replace(update, objective=change(update.objective)) for update in self.updates)
        return replace(self, loss=tuple(changed))

    def check_source(self, needs: Knowledge) -> None:
        """Raise UndeclaredKnowledge for a source that `needs` does not declare."""
        if self.source == "clean" and Knowledge.CLEAN_SET not in needs:
            raise UndeclaredKnowledge(f"phase '{self.name}' trains on the clean set without Knowledge.CLEAN_SET in `needs`")


def _one_of(kind: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ContractError(str(unknown(kind, str(value), allowed)))


class MakeModel(Protocol):
    """Make a new classifier with logits of shape (n, outputs); by default, one output per class."""

    def __call__(self, outputs: int | None = None) -> nn.Module: ...


class Method(nn.Module):
    """A robust-training method. Subclasses override `loss` and everything else that differs from plain training.

    The arguments of a subclass's `__init__`, with types and defaults, are its configuration. `setup` creates the model later. State
    is stored in parameters and buffers, which change in place, so that a trial resumes exactly.

    added_options: options added after the first records of this method, each with the value that reproduces the earlier behaviour; at
        that value an option is not part of a record's identity, so older records are still found
    """

    needs: Knowledge = Knowledge.NONE
    added_options: ClassVar[Mapping[str, Any]] = {}
    model: nn.Module

    def __init__(self) -> None:
        super().__init__()

    def setup(self, make_model: MakeModel, view: View) -> None:
        """Build the modules to train. The first model from `make_model` has the same initial weights for all methods of a trial."""
        self.model = make_model()

    def phases(self, schedules: Schedules) -> list[Phase]:
        """Return the phases of training, in order; by default one on the noisy training set. They are equal before and after `setup`."""
        return [Phase("main", schedules.main, self.loss)]

    def loss(self, batch: Batch) -> torch.Tensor | Weighted:
        """Return the scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, (n, num_classes), of normalised images."""
        return self.model(images)


def normalised(weights: torch.Tensor) -> torch.Tensor:
    """Return non-negative weights, (n,), scaled to sum to 1; all-zero weights stay zero (Eq. 9 of Ren et al., 2018).

    >>> normalised(torch.tensor([1.0, 3.0])), normalised(torch.zeros(2))
    (tensor([0.2500, 0.7500]), tensor([0., 0.]))
    """
    total = weights.sum()
    return weights / torch.where(total == 0, 1, total)  # no `if`: it would block the device


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Weighted:
    """Return sum_i w_i CE_i; weights of 1/n give the ordinary mean."""
    return Weighted((weights * F.cross_entropy(logits, labels, reduction="none")).sum(), weights)


def decayed_weights(model: nn.Module) -> list[str]:
    """Return the names of the parameters with weight decay: weights of convolutions and linear layers, but no biases or norms."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return [f"{prefix}.weight".lstrip(".") for prefix, module in model.named_modules() if isinstance(module, kinds)]
