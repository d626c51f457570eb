"""The one training loop, for every method and device."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from benchmark.training.batches import Batches, CleanBatches, in_order
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.compute import Compute
from benchmark.training.detection import WeightLog, weight_histograms
from benchmark.training.evaluation import Evaluator
from benchmark.training.evidence import Evidence
from benchmark.training.graphs import cuda_graph
from benchmark.training.proof import Prover, Steps
from benchmark.training.sgd import SGD
from benchmark.training.stepper import Stepper
from datasets.streams import stream_seed
from datasets.task import Examples, Task
from methods.base import Batch, Knowledge, Method, Phase, Schedules, UndeclaredKnowledge, View
from robust_benchmark.errors import UserError

ModelFactory = Callable[[int, torch.Size], nn.Module]


class Interrupted(Exception):
    """Training was asked to stop; its checkpoint is written."""


class Watch(Protocol):
    """What the caller hears of training, and what it may say."""

    def stepped(self, steps: int = 1) -> None:
        """So many more steps are done; many at once when a checkpoint is taken up."""

    def stopping(self) -> bool:
        """Whether training is to stop at this step, after a checkpoint."""


class Unwatched:
    """A Watch that hears nothing and never stops."""

    def stepped(self, steps: int = 1) -> None: ...

    def stopping(self) -> bool:
        return False


@dataclass(frozen=True)
class Settings:
    """SGD with momentum, and when to look.

    evaluate_every: steps; checkpoint_seconds: between checkpoints
    evidence: each evaluation looks at all training examples as well
    """

    schedules: Schedules
    batch_size: int = 100
    momentum: float = 0.9
    weight_decay: float = 0.0
    evaluate_every: int = 1000
    checkpoint_seconds: float = 30.0
    evidence: bool = False


@dataclass
class Progress:
    """How far a trial is: steps done in the current phase, evaluations so far, seconds over all resumptions.

    confusion_matrix: of the last evaluation
    weights_precision, weight_histograms: at the end, of methods that weigh examples (see benchmark.training.detection)
    """

    phase: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    diverged: bool = False
    confusion_matrix: list[list[int]] = field(default_factory=list)
    weights_precision: list[float | None] = field(default_factory=list)
    weight_histograms: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Trains one method on one task, from the start or from its last checkpoint.

    seed: the trial's; with it every number is determined (bit for bit on a CPU with the same number of threads)
    prover: captures steps where `compute` asks for CUDA graphs
    view: what the method may see of the task
    Raises UserError where the method needs a clean set and the task has none.
    """

    def __init__(
        self,
        method: Method,
        make_model: ModelFactory,
        task: Task,
        settings: Settings,
        seed: int,
        device: torch.device,
        checkpoints: Checkpoints | None = None,
        watch: Watch | None = None,
        compute: Compute | None = None,
    ) -> None:
        if Knowledge.CLEAN_SET in method.needs and len(task.clean) == 0:
            raise UserError(f"{type(method).__name__} needs a clean set, and the split leaves it empty: give split.clean_per_class")
        self.task = task.to(device)
        self.settings = settings
        self.progress = Progress()
        self.device = device
        self._seed = seed
        self._checkpoints = checkpoints
        self._watch = watch or Unwatched()
        self.compute = (compute or Compute()).on(device)
        self.view = View(method.needs, len(task.classes), self.task.train.labels, self._training_set, self.task)
        self.method = method
        torch.manual_seed(stream_seed(seed, "method"))  # dropout, random weights: whatever a method draws by itself
        method.setup(self._model_maker(make_model), self.view)
        self.compute.place(method, device).train()
        self.phases = method.phases(settings.schedules)
        self._optimiser = SGD.of(method, settings.momentum, settings.weight_decay)
        self.prover = Prover(cuda_graph if self.compute.cuda_graphs else None)
        self._lr = torch.zeros((), device=device) if self.compute.cuda_graphs else 0.0  # a graph reads it in its place
        self._clean = CleanBatches(self.task.clean, self.task.preprocessing, seed)
        self._clean_source = self.compute.uncompiled(self._clean.draw) if Knowledge.CLEAN_SET in method.needs else None
        self._loss_sum = torch.zeros((), device=device)
        self._weights = WeightLog(self.task.train)
        self._evaluator = Evaluator(self.task, seed)
        self.evidence = Evidence(self.task)

    @property
    def example_weights(self) -> torch.Tensor:
        """The last weight each training example was given, times the batch size, (n,); NaN for those without."""
        return self._weights.values

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.schedule.steps for phase in self.phases)

    def run(self) -> Progress:
        """Train to the end. Raises Interrupted, with a checkpoint written, when the watch asks to stop."""
        for _ in self.turns():
            pass
        return self.progress

    def turns(self) -> Iterator[None]:
        """As `run`, giving others on the same device a turn after each step."""
        resumed = self._resume()
        while self.progress.phase < len(self.phases) and not self.progress.diverged:
            phase = self.phases[self.progress.phase]
            batches = self.batches(phase)
            if resumed is not None:
                batches.restore(resumed)
                resumed = None
            elif phase.before is not None:
                phase.before(self.view)
            yield from self._phase_turns(phase, batches)
            self.progress.phase += 1
            self.progress.step = 0
        if self._weights.weighs and not self.progress.diverged:
            self._report_weights()

    def _phase_turns(self, phase: Phase, batches: Batches) -> Iterator[None]:
        progress, every = self.progress, self.settings.evaluate_every
        step = self.stepper(phase, batches)
        resumed_at = saved_at = time.perf_counter()
        while progress.step < phase.schedule.steps:
            step()
            progress.step += 1
            self._watch.stepped()
            if progress.step % every == 0 or progress.step == phase.schedule.steps:
                evaluation_began = time.perf_counter()
                progress.train_seconds += evaluation_began - resumed_at
                self._evaluate(phase)
                resumed_at = time.perf_counter()
                progress.evaluation_seconds += resumed_at - evaluation_began
                step.check()
                if progress.diverged:
                    return
            stopping = self._watch.stopping()
            if self._checkpoints and (stopping or time.perf_counter() - saved_at >= self.settings.checkpoint_seconds):
                saved_at = time.perf_counter()
                progress.train_seconds += saved_at - resumed_at
                resumed_at = saved_at
                self._save(self._checkpoints, batches)
            if stopping:
                raise Interrupted
            yield
        progress.train_seconds += time.perf_counter() - resumed_at

    def stepper(self, phase: Phase, batches: Batches) -> Stepper:
        """What does one update at each call. Nothing in it waits for the device."""

        def prepare(ahead: int) -> None:
            lr = phase.schedule.lr_at(self.progress.step) / (1 + ahead)  # only a proof prepares a step ahead
            self._lr = self._lr.fill_(lr) if isinstance(self._lr, torch.Tensor) else lr
            batches.advance()
            self._clean.advance()

        def restore(state: dict[str, Any]) -> None:
            self._restore(state)
            batches.restore(state["batches"])

        steps = Steps(
            method=self.method,
            prepare=prepare,
            work=self._device_work(phase, batches),
            save=lambda: self._state(batches),
            restore=restore,
            generators=lambda: [batches.generator, *self._clean.generators],
        )
        return Stepper(steps, self.prover)

    def _device_work(self, phase: Phase, batches: Batches) -> Callable[[], None]:
        """The part of an update that is the device's alone."""
        loss = self.compute.compiled(phase.loss)

        def update() -> None:
            with self.compute.autocast(self.device):
                objective = loss(batches.batch(self._clean_source))
            self._optimiser.zero_grad()
            objective.backward()
            self._optimiser.step(self._lr)
            self._loss_sum += objective.detach()
            if self.method.example_weights is not None and not phase.on_clean:
                self._weights.note(batches.index, self.method.example_weights)

        return update

    def _evaluate(self, phase: Phase) -> None:
        """Append to the history; a loss, weight or prediction that is no longer finite is divergence."""
        progress = self.progress
        steps = (progress.step - 1) % self.settings.evaluate_every + 1
        loss = self._loss_sum.item() / steps
        self._loss_sum.zero_()
        progress.diverged = not (math.isfinite(loss) and all(bool(p.isfinite().all()) for p in self.method.parameters()))
        entry: dict[str, Any] = {"phase": phase.name, "step": progress.step, "train_loss": loss if math.isfinite(loss) else None}
        if not progress.diverged:
            with self.compute.autocast(self.device):
                found, confusion = self._evaluator.evaluate(self.method)
                if self.settings.evidence:
                    self.evidence.note(self.method)
            progress.diverged = not math.isfinite(found["nll"])
        if not progress.diverged:
            progress.confusion_matrix = confusion
            entry |= found | ({} if phase.on_clean else self._weights.effective_share() | self._weights.report(self.task.train))
        progress.history.append(entry)

    def _report_weights(self) -> None:
        """Measure what is measured of example weights at the end alone."""
        self.progress.weights_precision = self._weights.precision_per_class(self.task.train, len(self.task.classes))
        if len(self.task.hyper_validation) > 0:
            self.progress.weight_histograms = weight_histograms(self._weigh, self.task, self.settings.batch_size, self._seed)

    def _weigh(self, examples: Examples) -> torch.Tensor:
        """The method's weights of `examples`, (n,), as in training, with nothing trained and no running state moved."""
        images = self.task.preprocessing.normalise(examples.images)
        index = torch.arange(len(examples), device=self.device)
        before = [(buffer, buffer.clone()) for buffer in self.method.buffers()]
        self._clean.advance()
        with self.compute.autocast(self.device):
            self.method.loss(Batch(images, examples.labels, index, self._clean_source))
        for buffer, value in before:
            buffer.copy_(value)
        assert self.method.example_weights is not None
        return self.method.example_weights.detach()

    def _training_set(self) -> Iterator[Batch]:
        return in_order(self.task.train, self.task.preprocessing)

    def _model_maker(self, make_model: ModelFactory) -> Callable[[], nn.Module]:
        """Makes the trial's models: the first has the same initial weights whatever the method."""
        numbers = itertools.count()

        def make() -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream_seed(self._seed, "initial weights", next(numbers)))
                return make_model(len(self.task.classes), self.task.train.images.shape[1:])

        return make

    def batches(self, phase: Phase) -> Batches:
        """The stream of the current phase."""
        name = f"phase {self.progress.phase}"
        if phase.on_clean:
            if Knowledge.CLEAN_SET not in self.method.needs:
                raise UndeclaredKnowledge(f"phase '{phase.name}' trains on the clean set without Knowledge.CLEAN_SET in `needs`")
            return self._clean.stream(name, self.settings.batch_size)
        train, size = self.task.train, self.method.batch_size(self.settings.batch_size)
        return Batches(train, lambda g: self.method.batches(train.labels, size, g), self.task.preprocessing, self._seed, name)

    def _save(self, checkpoints: Checkpoints, batches: Batches) -> None:
        evidence = self.evidence.state() if self.settings.evidence else {}
        checkpoints.save({"progress": asdict(self.progress), "evidence": evidence, **self._state(batches)})

    def _resume(self) -> dict[str, Any] | None:
        """Take up the last checkpoint, if any; returns the state of its batches."""
        saved = self._checkpoints.load() if self._checkpoints else None
        if saved is None:
            return None
        self.progress = Progress(**saved["progress"])
        earlier = self.phases[: self.progress.phase]
        self._watch.stepped(sum(phase.schedule.steps for phase in earlier) + self.progress.step)
        self._restore(saved)
        if saved["evidence"]:
            self.evidence.restore(saved["evidence"])
        return dict(saved["batches"])

    def _state(self, batches: Batches) -> dict[str, Any]:
        """All that a step changes, by name: tensors themselves, states of generators, numbers."""
        return {
            "method": self.method.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "loss_sum": self._loss_sum,
            "weights": self._weights.state(),
            "batches": batches.state(),
            "clean": self._clean.state(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self._loss_sum.device) if self._loss_sum.is_cuda else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Set all of it back in place, except the batches, which belong to a phase."""
        self.method.load_state_dict(state["method"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._loss_sum.copy_(state["loss_sum"])
        self._weights.restore(state["weights"])
        self._clean.restore(state["clean"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and self._loss_sum.is_cuda:
            torch.cuda.set_rng_state(state["cuda_random"], self._loss_sum.device)
