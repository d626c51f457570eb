"""The options of a run, typed: what Hydra's tree in conf/ is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any

from benchmark.training.compute import PRECISIONS
from datasets.augment import Preprocessing
from datasets.task import Split
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError, at_least, choice, in_range

KEEP = ("weights", "evidence", "predictions")
STAGES = ("main", "early_stopping", "finetune", "clean_only")
BELOW_ONE = 1 - 1e-6  # the largest decay of a moving average: at 1 it would never move


@dataclass
class Stage:
    """A schedule relative to the trainer's: steps and decays as shares of the trainer's steps; lr None is the trainer's."""

    share: float = 1.0
    lr: float | None = None
    decay_at: list[float] = field(default_factory=list)


@dataclass
class TrainerConfig:
    """Group `trainer`. One number, `steps`, scales every schedule.

    optimiser: sgd, adam or adamw; momentum and nesterov are of sgd, betas of adam and adamw
    clip_norm: the largest Euclidean norm of all gradients together; 0 is no clipping
    ema: decay at each step of averaged parameters, which evaluations use; 0 is no averages
    cosine: every schedule falls along half a cosine to final_share of its learning rate, instead of at its decays
    warm_up: the share of each schedule's steps along which its learning rate rises to its full value
    """

    name: str = "digits"
    steps: int = 1000
    batch_size: int = 100
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay_factor: float = 0.1
    optimiser: str = "sgd"
    nesterov: bool = False
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    clip_norm: float = 0.0
    ema: float = 0.0
    cosine: bool = False
    final_share: float = 0.0
    warm_up: float = 0.0
    evaluate_every: int = 100
    main: Stage = field(default_factory=Stage)
    early_stopping: Stage = field(default_factory=Stage)
    finetune: Stage = field(default_factory=Stage)
    clean_only: Stage = field(default_factory=Stage)

    def schedules(self) -> Schedules:
        """The schedules in steps."""
        return Schedules(**{name: self._schedule(getattr(self, name)) for name in STAGES})

    def _schedule(self, stage: Stage) -> Schedule:
        steps = max(1, round(stage.share * self.steps))
        lr = self.lr if stage.lr is None else stage.lr
        decay_at = () if self.cosine else tuple(round(share * self.steps) for share in stage.decay_at)
        return Schedule(steps, lr, decay_at, self.decay_factor, self.cosine, self.final_share, round(self.warm_up * steps))

    def optimiser_spec(self) -> Optimiser:
        """The optimiser of what a method trains by default."""
        first, second = self.betas
        return Optimiser(self.optimiser, None, self.momentum, self.nesterov, self.weight_decay, (first, second))


@dataclass
class LocalLauncher:
    """Processes of this machine, which share the grid among themselves.

    detach: return at once and let them run
    """

    name: str = "local"
    processes: int = 2
    detach: bool = False


@dataclass
class SlurmLauncher:
    """Job arrays of a SLURM cluster; None leaves a choice to the cluster.

    job_name: as squeue shows it; '' is the grid's
    gpus, cpus, mem_gb, minutes: of one task; one that reaches its time limit is queued again and goes on
    parallelism: tasks at once
    signal_seconds: this long before its end, a task is asked to write a checkpoint
    setup: lines of shell before each task, such as 'module load cuda'
    extra: further options of sbatch: +launcher.extra.qos=long
    detach: return at once instead of waiting for the table
    """

    name: str = "slurm"
    job_name: str = ""
    partition: str | None = None
    account: str | None = None
    gpus: int = 0
    cpus: int = 2
    mem_gb: float = 8.0
    minutes: int = 240
    parallelism: int = 256
    trials_per_task: int = 1
    signal_seconds: int = 90
    setup: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    detach: bool = False


Launcher = LocalLauncher | SlurmLauncher


@dataclass
class Experiment:
    """Group `experiment`: a named grid, and what the report makes of it.

    sweep: override -> choices; 'a,b' -> pairs of choices that go together
    rows: choice of method -> {name: its name in the table, <dataset>: the paper's [mean, half-width]}; swept too
    figure: {kind, ...}, the arguments of `benchmark.analysis.figures.draw`
    notes: footnotes of the table
    """

    name: str = ""
    sweep: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    figure: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class RunConfig:
    """The whole configuration. What does not change the numbers of a trial stands outside a cell's identity."""

    method: Any = None
    dataset: Any = None
    imbalance: Any = None
    noise: Any = None
    model: Any = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    split: Split = field(default_factory=Split)
    trials: int = 5
    seed: int = 0
    device: str = "auto"
    results_dir: str = "results/runs"
    checkpoint_dir: str = ".checkpoints"
    checkpoint_seconds: float = 30.0
    claim_seconds: float = 120.0
    data_dir: str = "data"
    precision: str = "float32"
    compile: bool = False
    channels_last: bool | None = None
    cuda_graphs: bool | None = None
    side_by_side: int | None = None
    resident: bool | None = None
    keep: Any = field(default_factory=list)  # a list; another type is refused by `check`, which names the form
    rerun: str = "missing"
    processes: int | None = None
    scale: float = 1.0
    experiment: Experiment = field(default_factory=Experiment)
    launcher: Any = None  # a Launcher, or None for this command


def check(config: RunConfig) -> None:
    """Raises UserError for a number out of its range."""
    at_least("trials", config.trials, 1)
    if not isinstance(config.keep, list):
        raise UserError(f"keep must be a list of {', '.join(KEEP)}, such as keep=[weights], not {config.keep}")
    for kind in config.keep:
        choice("kind of artifact to keep", kind, KEEP)
    if "evidence" in config.keep and find_spec("pyarrow") is None:
        raise UserError("keep=[evidence] writes Parquet files, which needs pyarrow: pip install pyarrow")
    choice("rerun", config.rerun, ("missing", "stale"))
    at_least("claim_seconds", config.claim_seconds, 0.1)
    in_range("scale", config.scale, 1e-6, 1)
    choice("precision", config.precision, PRECISIONS)
    at_least("side_by_side", 1 if config.side_by_side is None else config.side_by_side, 1)
    at_least("processes", 1 if config.processes is None else config.processes, 1)
    _check_trainer(config.trainer)
    for name in ("processes", "minutes", "cpus", "parallelism", "trials_per_task"):
        at_least(f"launcher.{name}", getattr(config.launcher, name, 1), 1)


def _check_trainer(trainer: TrainerConfig) -> None:
    for name in ("steps", "batch_size", "evaluate_every"):
        at_least(f"trainer.{name}", getattr(trainer, name), 1)
    for name in ("lr", "momentum", "weight_decay", "decay_factor", "clip_norm"):
        at_least(f"trainer.{name}", getattr(trainer, name), 0)
    for name in ("final_share", "warm_up"):
        in_range(f"trainer.{name}", getattr(trainer, name), 0, 1)
    in_range("trainer.ema", trainer.ema, 0, BELOW_ONE)
    for name in STAGES:
        stage: Stage = getattr(trainer, name)
        at_least(f"trainer.{name}.share", stage.share, 0)
        at_least(f"trainer.{name}.lr", 0 if stage.lr is None else stage.lr, 0)
    if trainer.final_share and not trainer.cosine:
        raise UserError(f"trainer.final_share={trainer.final_share:g} is of a cosine, and needs trainer.cosine=true")
    _check_optimiser(trainer)


def _check_optimiser(trainer: TrainerConfig) -> None:
    choice("trainer.optimiser", trainer.optimiser, Optimiser.KINDS)
    if trainer.nesterov and (trainer.optimiser != "sgd" or trainer.momentum == 0):
        given = f"trainer.optimiser={trainer.optimiser} with trainer.momentum={trainer.momentum:g}"
        raise UserError(f"trainer.nesterov=true needs trainer.optimiser=sgd with a momentum above 0, not {given}")
    if len(trainer.betas) != 2:
        raise UserError(f"trainer.betas must be two numbers, such as trainer.betas=[0.9,0.999], not {trainer.betas}")
    for beta in trainer.betas:
        in_range("trainer.betas", beta, 0, BELOW_ONE)


def rescale(config: RunConfig) -> None:
    """Every schedule at `scale` of its steps, evaluated as often in all."""
    if config.scale != 1:
        trainer = config.trainer
        trainer.steps = max(1, round(config.scale * trainer.steps))
        trainer.evaluate_every = max(1, round(config.scale * trainer.evaluate_every))


def preprocessing(config: RunConfig) -> Preprocessing:
    """The dataset's preprocessing. Raises UserError for options that it does not have."""
    given, known = config.dataset["preprocessing"], tuple(each.name for each in fields(Preprocessing))
    if not isinstance(given, dict):
        raise UserError(f"dataset.preprocessing must be a mapping of {', '.join(known)}, not {given}")
    for name in given:
        choice("option of dataset.preprocessing", name, known)
    return Preprocessing(**given)
