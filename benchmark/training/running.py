"""A running phase: its batches, its clock, and the updates of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.training.averaging import Average
from benchmark.training.batches import Batches, CleanBatches
from benchmark.training.compute import Compute
from benchmark.training.detection import WeightLog
from benchmark.training.optimisers import clip, make
from benchmark.training.proof import Prover, Steps
from benchmark.training.sgd import InPlaceOptimiser
from benchmark.training.stepper import Stepper
from datasets.task import Examples
from methods.base import Clock, Knowledge, Method, Objective, Phase, View, Weighted, decayed_weights
from methods.schedules import Optimiser
from robust_benchmark.errors import ContractError, unknown


@dataclass
class TrialState:
    """The state that all phases of a trial share.

    optimiser: the trial's optimiser; spec: its kind and options
    clip_norm: see Settings; average: average of the parameters, if evaluations use one
    weights: log of the example weights; loss_sum: sum of the losses since the last evaluation
    """

    method: Method
    device: torch.device
    compute: Compute
    prover: Prover
    clean: CleanBatches
    spec: Optimiser
    optimiser: InPlaceOptimiser
    weights: WeightLog
    loss_sum: torch.Tensor
    clip_norm: float = 0.0
    average: Average | None = None


@dataclass(frozen=True)
class Part:
    """A prepared update: its objective, compiled if requested; its optimiser; its own parameters, if any."""

    objective: Objective
    optimiser: InPlaceOptimiser
    own: list[nn.Parameter]
    lr: float | None


class Running:
    """One phase of a trial, with the optimisers of its updates in addition to the trial's."""

    def __init__(self, phase: Phase, batches: Batches, trial: TrialState) -> None:
        self.phase, self.batches, self.trial = phase, batches, trial
        self.step = 0
        device, method = trial.device, trial.method
        self._draw_clean = trial.compute.uncompiled(trial.clean.draw) if Knowledge.CLEAN_SET in method.needs else None
        phase.check_source(method.needs)
        self._lr = torch.zeros((), device=device) if trial.compute.cuda_graphs else 0.0  # keeps its address, because a graph reads it
        self.clock = Clock(phase.schedule.steps, *(value.to(device) for value in (Clock().step, Clock().epoch, Clock().lr)))
        self._parts = [*self._made_parts()]
        self._stepper = Stepper(self._steps(), trial.prover)

    def _made_parts(self) -> Iterator[Part]:
        trial = self.trial
        for update in self.phase.updates:
            objective = trial.compute.compiled(update.objective)
            if not update.parts:
                yield Part(objective, trial.optimiser, [], None)
                continue
            spec = update.optimiser or trial.spec
            named = _named_parameters(trial.method, update.parts)
            optimiser = make(spec, named.items(), decayed_weights(trial.method))
            yield Part(objective, optimiser, list(named.values()), spec.lr)

    def begin(self, view: View) -> None:
        """Do the one-time work of the phase before its first step."""
        with self.trial.average.restarted() if self.trial.average else nullcontext():
            more = self.phase.before(view) if self.phase.before else None
        if more is not None and not isinstance(more, Examples):
            raise ContractError(f"`before` of phase '{self.phase.name}' must return Examples or None, not {type(more).__name__}")
        if more is not None and len(more) > 0:
            self.batches.join(more)
            if self.phase.source == "train":
                self.trial.weights.extend(len(self.batches.examples))

    def take_step(self, view: View) -> None:
        """Take one step, and before the first step of an epoch run the epoch's hooks. The step itself does not wait for the device."""
        if self.batches.epoch_is_over:
            self._begin_epoch(view)
        self._stepper()
        self.step += 1

    def check(self) -> None:
        """Check the state; call it after any code other than a step that may change the method (see Stepper)."""
        self._stepper.check()

    def close(self) -> None:
        """End the threads that read ahead, and discard the capture of the steps."""
        self.batches.close()
        self._stepper.close()

    def _begin_epoch(self, view: View) -> None:
        if self.phase.every_epoch:
            self._set_clock(0)
            self.phase.every_epoch(view, self.clock)
        self.batches.begin_epoch()
        self.check()  # the hook, or the method's `sample`, may have changed it

    def _steps(self) -> Steps:
        return Steps(
            method=self.trial.method,
            prepare=self._prepare,
            work=self._work,
            save=self.state,
            restore=self.restore,
            generators=lambda: [*self.batches.generators, *self.trial.clean.generators],
        )

    def _prepare(self, ahead: int) -> None:
        """Do the host's part of a step, by its distance from the next one, which only the proof of a capture uses."""
        self._set_clock(ahead)
        self.batches.advance()
        self.trial.clean.advance()

    def _set_clock(self, ahead: int) -> None:
        lr = self.phase.schedule.lr_at(self.step) / (1 + ahead)  # the steps of a proof have different learning rates
        self._lr = self._lr.fill_(lr) if isinstance(self._lr, torch.Tensor) else lr
        self.clock.step.fill_(self.step + ahead)
        self.clock.epoch.fill_(self.batches.epochs)
        self.clock.lr.fill_(lr)

    def _work(self) -> None:
        """Do the device's part of a step: its updates on one batch."""
        trial = self.trial
        trial.clean.rewind()
        batch = self.batches.batch(self._draw_clean, self.clock)
        for part in self._parts:
            with trial.compute.autocast(trial.device):
                found = part.objective(batch)
            loss, weights = found if isinstance(found, Weighted) else (found, None)
            self._check(loss, weights, len(batch.labels))
            if weights is not None and self.phase.source == "train":
                trial.weights.note(batch.index, weights)
            self._update(part, loss)
        trial.loss_sum += loss.detach()
        if trial.average:
            trial.average.update()

    def _check(self, loss: Any, weights: Any, n: int) -> None:
        """Raise ContractError for an invalid result of an objective. Reads no value."""
        wanted = f"the loss of phase '{self.phase.name}' of {type(self.trial.method).__name__} must be"
        if not isinstance(loss, torch.Tensor) or loss.ndim > 0:
            kind = "None" if loss is None else type(loss).__name__
            shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else kind
            raise ContractError(f"{wanted} a scalar tensor, or Weighted(scalar tensor, example weights), not {shape}")
        if not loss.requires_grad:
            raise ContractError(f"{wanted} differentiable by a parameter that is trained")
        if weights is not None and (getattr(weights, "shape", None) != (n,) or not weights.is_floating_point()):
            said = f"{tuple(weights.shape)} of {weights.dtype}" if isinstance(weights, torch.Tensor) else type(weights).__name__
            raise ContractError(f"{wanted} Weighted with a float weight for each of the {n} examples, not {said}")

    def _update(self, part: Part, loss: torch.Tensor) -> None:
        part.optimiser.zero_grad()
        if part.own:
            loss.backward(inputs=[parameter for parameter in part.own if parameter.requires_grad])  # torch rejects frozen parameters
        else:
            loss.backward()
            for other in self._parts:
                if other.own:
                    other.optimiser.zero_grad()
        if self.trial.clip_norm:
            clip(part.own or self.trial.method.parameters(), self.trial.clip_norm)
        part.optimiser.step(self._lr if part.lr is None else part.lr)

    def state(self) -> dict[str, Any]:
        """Return everything that a step changes, by name: the tensors themselves, states of generators, numbers."""
        trial = self.trial
        return {
            "method": trial.method.state_dict(),
            "optimiser": trial.optimiser.state_dict(),
            "optimisers": [part.optimiser.state_dict() for part in self._parts if part.own],
            "average": trial.average.state() if trial.average else {},
            "loss_sum": trial.loss_sum,
            "weights": trial.weights.state(),
            "batches": self.batches.state(),
            "clean": trial.clean.state(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(trial.device) if trial.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Reset all of it in place."""
        trial = self.trial
        trial.method.load_state_dict(state["method"])
        trial.optimiser.load_state_dict(state["optimiser"])
        for part, saved in zip((part for part in self._parts if part.own), state["optimisers"], strict=True):
            part.optimiser.load_state_dict(saved)
        if trial.average:
            trial.average.restore(state["average"])
        trial.loss_sum.copy_(state["loss_sum"])
        trial.weights.restore(state["weights"])
        self.batches.restore(state["batches"])
        trial.clean.restore(state["clean"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and trial.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"], trial.device)


def _parts(method: Method) -> set[str]:
    """Return dotted names of the method's parameters and of the modules with parameters."""
    names = [name.split(".") for name, _ in method.named_parameters()]
    return {".".join(name[:depth]) for name in names for depth in range(1, len(name) + 1)}


def _named_parameters(method: Method, parts: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """Return the method's parameters that belong to the parts. Raises ContractError for a part without parameters."""
    found: dict[str, nn.Parameter] = {}
    for part in parts:
        inside = {name: parameter for name, parameter in method.named_parameters() if f"{name}.".startswith(f"{part}.")}
        if not inside:
            raise ContractError(str(unknown(f"part with parameters in {type(method).__name__}", str(part), _parts(method))))
        found |= inside
    return found
