"""Methods run manually through their public interface, in float64: a tiny task, a tiny classifier, a plain loop over a step's updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.task import Examples, Task
from methods import registry
from methods.base import Batch, Clock, Method, Phase, Update, View, Weighted, decayed_weights, scalar
from methods.schedules import Optimiser, Schedule, Schedules
from tests.conftest import toy_task

CLASSES = 3
LR = 0.125  # exact in float32 as well


class TinyNet(nn.Module):
    """Images of 1 x 4 x 4 to logits, with batch norm; `output` is its last linear layer."""

    def __init__(self, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(48, 5)
        )
        self.output = nn.Linear(5, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))

    def stages(self) -> dict[str, nn.Module]:
        return {"features": self.features, "output": self.output}


class Bare(nn.Module):
    """Pixels are logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = nn.Flatten(), nn.Linear(CLASSES, CLASSES, bias=False)
        nn.init.eye_(self.output.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))


def some_images(n: int, seed: int = 0, shape: tuple[int, ...] = (1, 4, 4), scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_labels(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, CLASSES, (n,), generator=torch.Generator().manual_seed(seed))


def task_of(labels: torch.Tensor, wrong: int = 0) -> Task:
    """Return a task whose training set has these labels, with this number of wrong ones. Its stored images do not matter."""
    stored = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    true = torch.where(torch.arange(len(labels)) < wrong, (labels + 1) % CLASSES, labels)
    clean = Examples(stored[:CLASSES], torch.arange(CLASSES), torch.arange(CLASSES))
    return replace(toy_task(), train=Examples(stored, labels, true), clean=clean, classes=tuple("abc"))


def schedules(steps: int = 10) -> Schedules:
    return Schedules(main=Schedule(steps, lr=LR))


def at(step: int = 0, epoch: float = 0.0, steps: int = 10) -> Clock:
    return Clock(steps, torch.tensor(step), torch.tensor(epoch), torch.tensor(LR))


@dataclass
class Bench:
    """A method after `setup`; `models` are its models, in order. images: its view of the training set, without augmentation."""

    method: Method
    models: list[nn.Module]
    view: View
    images: torch.Tensor

    def phases(self, steps: int = 10) -> list[Phase]:
        return self.method.phases(schedules(steps))

    def batch(self, index: torch.Tensor, **parts: Any) -> Batch:
        images = parts.pop("images", self.images[index])
        return Batch(images, parts.pop("labels", self.view.labels[index]), index, **{"clock": at(), **parts})


def bench(config: Mapping[str, Any], labels: torch.Tensor, images: torch.Tensor, make: Any = TinyNet, wrong: int = 0) -> Bench:
    """The method of that configuration, set up in float64 on models that `make(outputs)` makes."""
    method, models = registry.build(config), []

    def make_model(outputs: int | None = None) -> nn.Module:
        torch.manual_seed(100 + len(models))
        models.append(make(outputs or CLASSES))
        return models[-1]

    def batches() -> Iterator[Batch]:
        for part in torch.arange(len(labels)).split(7):
            yield Batch(images[part], labels[part], part)

    view = View(method.needs, CLASSES, labels, batches, task_of(labels, wrong))
    method.setup(make_model, view)
    method.double().train()
    return Bench(method, models, view, images)


def logits_of(b: Bench, index: torch.Tensor) -> np.ndarray:
    """Return the logits of these examples where pixels are logits, (n, K)."""
    return b.images[index].numpy().reshape(len(index), CLASSES)


def seen(b: Bench, index: torch.Tensor, phase: int = 0, clock: Clock | None = None) -> tuple[torch.Tensor | Weighted, np.ndarray]:
    """What a phase's objective returns for these examples, and its gradient in their logits, (n, K)."""
    images = b.images[index].requires_grad_()
    (update,) = b.phases()[phase].updates
    found = update.objective(b.batch(index, images=images, clock=clock or at()))
    (gradient,) = torch.autograd.grad(scalar(found), images)
    return found, gradient.numpy().reshape(len(index), CLASSES)


@dataclass(frozen=True)
class Seen:
    """One update: its loss, the weights that it gave, and the gradient of each parameter that it changes, by name."""

    loss: torch.Tensor
    weights: torch.Tensor | None
    gradients: dict[str, torch.Tensor]


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


@dataclass
class Stepping:
    """The trainer's work in one phase: the updates of a step in order. `trial` is the trial's optimiser."""

    method: Method
    phase: Phase
    trial: Optimiser = field(default_factory=lambda: Optimiser(lr=LR, momentum=0.0))

    def __post_init__(self) -> None:
        owned = [part for update in self.phase.updates for part in update.parts]
        named = {name: p for name, p in self.method.named_parameters() if p.requires_grad}
        rest = {name: p for name, p in named.items() if not within(name, tuple(owned))}
        mine = [{name: p for name, p in named.items() if within(name, update.parts)} if update.parts else rest for update in self.updates]
        self._parameters = mine
        self._optimisers = [self._optimiser(update.optimiser or self.trial, p) for update, p in zip(self.updates, mine, strict=True)]

    @property
    def updates(self) -> tuple[Update, ...]:
        return self.phase.updates

    def _optimiser(self, spec: Optimiser, named: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        decayed = set(decayed_weights(self.method))
        groups = [{"params": [p], "weight_decay": spec.weight_decay if name in decayed else 0.0} for name, p in named.items()]
        lr = LR if spec.lr is None else spec.lr
        if spec.kind == "sgd":
            return torch.optim.SGD(groups, lr, spec.momentum, nesterov=spec.nesterov)
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.kind](groups, lr, spec.betas)

    def step(self, batch: Batch) -> list[Seen]:
        return [self.update(number, batch) for number in range(len(self.updates))]

    def update(self, number: int, batch: Batch) -> Seen:
        """One update of a step, by its number; the parameters move."""
        named, optimiser = self._parameters[number], self._optimisers[number]
        found = self.updates[number].objective(batch)
        gradients = torch.autograd.grad(scalar(found), list(named.values()), allow_unused=True)
        for parameter, gradient in zip(named.values(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        weights = found.example_weights.detach() if isinstance(found, Weighted) else None
        return Seen(scalar(found).detach(), weights, {name: g for name, g in zip(named, gradients, strict=True) if g is not None})


def gradient_of(seen: list[Seen], method: nn.Module, model: nn.Module) -> list[torch.Tensor]:
    """Return the gradients of a model's parameters in a step, in order; zero for a missing one."""
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    given = {name: gradient for each in seen for name, gradient in each.gradients.items()}
    return [given.get(names[id(p)], torch.zeros_like(p)) for p in model.parameters()]
