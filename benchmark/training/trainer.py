"""The training loop, for every method and device."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from benchmark.training.averaging import Average
from benchmark.training.batches import Batches, CleanBatches, in_order
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.compute import Compute
from benchmark.training.detection import WeightLog, weight_histograms
from benchmark.training.evaluation import Evaluator
from benchmark.training.evidence import Evidence
from benchmark.training.graphs import cuda_graph
from benchmark.training.optimisers import make
from benchmark.training.proof import Prover
from benchmark.training.running import Running, TrialState
from datasets.streams import stream_seed
from datasets.task import Examples, Task
from methods.base import Batch, Clock, HeldOut, Knowledge, MakeModel, Method, Phase, View, Weighted, decayed_weights
from methods.schedules import Optimiser, Schedules
from robust_benchmark.errors import ContractError, UserError, at_least

ModelFactory = Callable[[int, torch.Size], nn.Module]


class Interrupted(Exception):
    """A stop of training was requested; its checkpoint is written."""


class Watch(Protocol):
    """Receives the progress of training, and may request a stop."""

    def stepped(self, steps: int = 1) -> None:
        """Receive the number of steps done since the last call; it is large when a checkpoint is loaded."""

    def stopping(self) -> bool:
        """Return whether training stops after this step, with a checkpoint."""


class Unwatched:
    """A Watch that ignores progress and never stops."""

    def stepped(self, steps: int = 1) -> None: ...

    def stopping(self) -> bool:
        return False


@dataclass(frozen=True)
class Settings:
    """The options of a trial's training and of its evaluations.

    evaluate_every: in steps; checkpoint_seconds: time between checkpoints
    evidence: each evaluation also covers all training examples
    clip_norm: largest norm of an update's gradients, 0 is no clipping; ema: decay of averaged parameters, 0 is none
    """

    schedules: Schedules
    batch_size: int = 100
    optimiser: Optimiser = field(default_factory=Optimiser)
    evaluate_every: int = 1000
    checkpoint_seconds: float = 30.0
    evidence: bool = False
    clip_norm: float = 0.0
    ema: float = 0.0


@dataclass
class Progress:
    """The progress of a trial: steps done in the current phase, evaluations so far, seconds over all resumptions.

    per_class: entries for each class, of the last evaluation (see benchmark.training.evaluation)
    train_epochs: epochs of the last phase on the training set, at its end
    weights_precision, weight_histograms: at the end, for methods with example weights (see benchmark.training.detection)
    """

    phase: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    diverged: bool = False
    train_epochs: float = 0.0
    per_class: dict[str, list[Any]] = field(default_factory=dict)
    weights_precision: list[float | None] = field(default_factory=list)
    weight_histograms: dict[str, Any] = field(default_factory=dict)


def phases_of(method: Method, schedules: Schedules) -> list[Phase]:
    """Return the method's phases. Raises ContractError if there is nothing to train."""
    phases = method.phases(schedules)
    if not isinstance(phases, list) or not all(isinstance(phase, Phase) for phase in phases) or steps_of(phases) < 1:
        raise ContractError(f"{type(method).__name__}.phases must give a list of phases with at least one step in all, not {phases!r:.80}")
    return phases


def steps_of(phases: Sequence[Phase]) -> int:
    """Return the total steps of the phases."""
    return sum(phase.schedule.steps for phase in phases)


class Trainer:
    """Trains one method on one task, from the start or from its last checkpoint.

    seed: seed of the trial, which determines every number (bit for bit on a CPU with the same number of threads)
    prover: captures steps if `compute` requests CUDA graphs
    view: the part of the task that the method may see
    Raises UserError if the method needs a clean set and the task has none.
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
            empty = "the split leaves it empty: give split.clean_per_class"
            reason = empty if task.train.truth_is_known else "this data set knows no true labels: vouch for some of them"
            raise UserError(f"{type(method).__name__} needs a clean set, and {reason}")
        if method.needs & Knowledge.OF_TRUTH and not task.train.truth_is_known:
            needs = " and ".join(name.replace("_", " ") for name in (method.needs & Knowledge.OF_TRUTH).names())
            raise UserError(
                f"{type(method).__name__} needs the {needs}, which derive from true labels, and this data set does not know them"
            )
        if method.needs & (Knowledge.TRANSITION_MATRIX | Knowledge.TRUE_LABELS) and task.replaced.any():
            raise UserError(f"{type(method).__name__} needs a true class of each image, and images of another data set have none")
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
        torch.manual_seed(stream_seed(seed, "method"))  # dropout, random weights: all draws of the method itself
        method.setup(self._model_maker(make_model), self.view)
        self.compute.place(method, device).train()
        self.phases = phases_of(method, settings.schedules)
        self._check_views()
        self.trial = self._shared()
        self._evaluator = Evaluator(self.task, seed)
        self.evidence = Evidence(self.task)

    def _check_views(self) -> None:
        """Raise UserError if views of a phase would be identical."""
        for phase in self.phases:
            alike = len(phase.views) - phase.views.count("strong")
            if alike > 1 and not self.task.preprocessing.random:
                raise UserError(
                    f"{type(self.method).__name__} needs different views of an image, and the data set's augmentation is none: "
                    "give dataset.preprocessing.pad or dataset.preprocessing.flip"
                )

    def _shared(self) -> TrialState:
        method, device, settings = self.method, self.device, self.settings
        return TrialState(
            method=method,
            device=device,
            compute=self.compute,
            prover=Prover(cuda_graph if self.compute.cuda_graphs else None),
            clean=CleanBatches(self.task.clean, self.task.preprocessing, self._seed),
            spec=settings.optimiser,
            optimiser=make(settings.optimiser, method.named_parameters(), decayed_weights(method)),
            weights=WeightLog(self.task.train),
            loss_sum=torch.zeros((), device=device),
            clip_norm=settings.clip_norm,
            average=Average(method, settings.ema) if settings.ema else None,
        )

    @property
    def example_weights(self) -> torch.Tensor:
        """The last weight of each training example, times the batch size, (n,); NaN for those without one."""
        return self.trial.weights.values

    @property
    def steps(self) -> int:
        """The total steps of all phases."""
        return steps_of(self.phases)

    def run(self) -> Progress:
        """Train to the end. Raises Interrupted, with a checkpoint written, when the watch requests a stop."""
        for _ in self.turns():
            pass
        return self.progress

    def turns(self) -> Iterator[None]:
        """Train like `run`, and yield after each step, so that other trials on the device get a turn."""
        with contextlib.closing(self.trial.clean):
            saved = self._load()
            while self.progress.phase < len(self.phases) and not self.progress.diverged:
                running = self.running(self.phases[self.progress.phase])
                with contextlib.closing(running):
                    if saved is None:
                        running.begin(self.view)
                    else:
                        self._resume(running, saved)
                        saved = None
                    yield from self._phase_turns(running)
                if running.phase.source == "train":
                    self.progress.train_epochs = running.batches.epochs
                self.progress.phase += 1
                self.progress.step = 0
            if self.trial.weights.weighs and not self.progress.diverged:
                self._report_weights()

    def running(self, phase: Phase) -> Running:
        """Return the current phase, before its first step."""
        name = f"phase {self.progress.phase}"
        examples = self.task.train if phase.source == "train" else self.task.clean
        batches = Batches(
            phase.source, examples, phase.sample, self.settings.batch_size, self.task.preprocessing, self._seed, name, phase.views
        )
        return Running(phase, batches, self.trial)

    def _phase_turns(self, running: Running) -> Iterator[None]:
        progress, every, steps = self.progress, self.settings.evaluate_every, running.phase.schedule.steps
        resumed_at = saved_at = time.perf_counter()
        while progress.step < steps:
            running.take_step(self.view)
            progress.step = running.step
            self._watch.stepped()
            if progress.step % every == 0 or progress.step == steps:
                evaluation_began = time.perf_counter()
                progress.train_seconds += evaluation_began - resumed_at
                self._evaluate(running.phase)
                resumed_at = time.perf_counter()
                progress.evaluation_seconds += resumed_at - evaluation_began
                running.check()
                if progress.diverged:
                    return
            stopping = self._watch.stopping()
            if self._checkpoints and (stopping or time.perf_counter() - saved_at >= self.settings.checkpoint_seconds):
                saved_at = time.perf_counter()
                progress.train_seconds += saved_at - resumed_at
                resumed_at = saved_at
                self._save(self._checkpoints, running)
            if stopping:
                raise Interrupted
            yield
        progress.train_seconds += time.perf_counter() - resumed_at

    def _evaluate(self, phase: Phase) -> None:
        """Append to the history; a loss, weight or prediction that is not finite is divergence."""
        progress = self.progress
        steps = (progress.step - 1) % self.settings.evaluate_every + 1
        loss = self.trial.loss_sum.item() / steps
        self.trial.loss_sum.zero_()
        progress.diverged = not (math.isfinite(loss) and all(bool(p.isfinite().all()) for p in self.method.parameters()))
        entry: dict[str, Any] = {"phase": phase.name, "step": progress.step, "train_loss": loss if math.isfinite(loss) else None}
        if not progress.diverged:
            with self.evaluated(), self.compute.autocast(self.device):
                found, per_class = self._evaluator.evaluate(self.method)
                if self.settings.evidence:
                    self.evidence.note(self.method)
            progress.diverged = not math.isfinite(found["nll"])
        if not progress.diverged:
            progress.per_class = per_class
            weights = self.trial.weights
            weights.check()
            entry |= found | (weights.effective_share() | weights.report(self.task.train) if phase.source == "train" else {})
        progress.history.append(entry)

    def evaluated(self) -> AbstractContextManager[None]:
        """Context in which the method has the parameters for evaluations: averaged ones, if the settings request them."""
        average = self.trial.average
        return average.swapped() if average else contextlib.nullcontext()

    def _report_weights(self) -> None:
        """Measure the properties of example weights that are recorded only at the end."""
        progress = self.progress
        progress.weights_precision = self.trial.weights.precision_per_class(self.task.train, len(self.task.classes))
        if len(self.task.hyper_validation) > 0 and self.task.transition_matrix is not None:
            with contextlib.suppress(HeldOut):  # weights that depend on per-example state of the method
                progress.weight_histograms = weight_histograms(self._weigh, self.task, self.settings.batch_size, self._seed)

    def _weigh(self, examples: Examples) -> torch.Tensor:
        """Return the method's weights of `examples`, (n,), as at the end of its last phase on the training set, and keep its state."""
        phase = [phase for phase in self.phases if phase.source == "train"][-1]
        images = self.task.preprocessing.normalise(examples.images[:])
        others = (images,) * (len(phase.views) - 1)
        steps, lr = phase.schedule.steps, phase.schedule.lr_at(phase.schedule.steps - 1)
        clock = Clock(steps, *(torch.tensor(value, device=self.device) for value in (steps, self.progress.train_epochs, lr)))
        self.trial.clean.advance()
        draw_clean = self.trial.clean.draw if Knowledge.CLEAN_SET in self.method.needs else None
        before = [(buffer, buffer.clone()) for buffer in self.method.buffers()]
        try:
            with self.compute.autocast(self.device):
                found = phase.updates[-1].objective(Batch(images, examples.labels, None, draw_clean, others, "held_out", clock))
        finally:
            for buffer, value in before:
                buffer.copy_(value)
        if not isinstance(found, Weighted):
            raise HeldOut("the last update of a step weighs nothing")
        return found.example_weights.detach()

    def _training_set(self) -> Iterator[Batch]:
        return in_order(self.task.train, self.task.preprocessing)

    def _model_maker(self, make_model: ModelFactory) -> MakeModel:
        """Make the trial's models: the first one has the same initial weights for every method."""
        numbers = itertools.count()

        def new(outputs: int | None = None) -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(stream_seed(self._seed, "initial weights", next(numbers)))  # and none on CUDA
                classes = len(self.task.classes) if outputs is None else int(at_least("outputs of a model", outputs, 1))
                return make_model(classes, self.task.train.images.shape[1:])

        return new

    def _save(self, checkpoints: Checkpoints, running: Running) -> None:
        evidence = self.evidence.state() if self.settings.evidence else {}
        checkpoints.save({"progress": asdict(self.progress), "evidence": evidence, **running.state()})

    def _load(self) -> dict[str, Any] | None:
        """Load the last checkpoint, if any, with its progress."""
        saved = self._checkpoints.load() if self._checkpoints else None
        if saved is not None:
            self.progress = Progress(**saved["progress"])
            earlier = self.phases[: self.progress.phase]
            self._watch.stepped(sum(phase.schedule.steps for phase in earlier) + self.progress.step)
        return saved

    def _resume(self, running: Running, saved: dict[str, Any]) -> None:
        """Continue from the checkpoint."""
        running.step = self.progress.step
        running.restore(saved)
        if saved["evidence"]:
            self.evidence.restore(saved["evidence"])
