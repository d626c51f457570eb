"""The typed options of a run, which check Hydra's tree in conf/."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from benchmark.observers import finding
from datasets.augment import Preprocessing
from datasets.task import Split
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError

STAGES = ("main", "early_stopping", "finetune", "clean_only")


@dataclass
class Stage:
    """A schedule relative to that of the trainer.

    share: number of steps, as a share of the trainer's steps, above 0
    lr: initial learning rate, at least 0; null uses the trainer's
    decay_at: steps at which the learning rate falls, as shares of the trainer's steps, in [0, 1]
    """

    share: float = 1.0
    lr: float | None = None
    decay_at: list[float] = field(default_factory=list)


@dataclass
class TrainerConfig:
    """Group `trainer`. One number, `steps`, scales every schedule.

    steps: steps of the main schedule, at least 1; every other schedule is a share of it
    batch_size: examples per step, at least 1
    lr: the initial learning rate, at least 0
    momentum: momentum of sgd, in [0, 1]
    weight_decay: weight decay of convolutions and linear layers, at least 0; it does not act on biases and norms
    decay_factor: factor of the learning rate at each decay, at least 0
    optimiser: default optimiser of a method, one of sgd, adam, adamw
    nesterov: sgd uses Nesterov momentum
    betas: the two decays of adam and adamw, in [0, 1)
    clip_norm: maximum Euclidean norm of all gradients together, at least 0; 0 disables clipping
    ema: decay per step of the averaged parameters that evaluations use, in [0, 1); 0 disables averaging
    cosine: the learning rate of every schedule falls along half a cosine to final_share, instead of at its decays
    final_share: share of the learning rate at the end of a cosine, in [0, 1]
    warm_up: share of each schedule's steps in which its learning rate rises to its full value, in [0, 1]
    evaluate_every: steps from one evaluation to the next, at least 1
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
        """Return the schedules in steps."""
        return Schedules(**{name: self._schedule(getattr(self, name)) for name in STAGES})

    def _schedule(self, stage: Stage) -> Schedule:
        steps = max(1, round(stage.share * self.steps))
        lr = self.lr if stage.lr is None else stage.lr
        decay_at = () if self.cosine else tuple(round(share * self.steps) for share in stage.decay_at)
        return Schedule(steps, lr, decay_at, self.decay_factor, self.cosine, self.final_share, round(self.warm_up * steps))

    def optimiser_spec(self) -> Optimiser:
        """Return the default optimiser of a method."""
        first, second = self.betas
        return Optimiser(self.optimiser, None, self.momentum, self.nesterov, self.weight_decay, (first, second))


@dataclass
class LocalLauncher:
    """Processes of this machine that share the grid.

    processes: number of processes, at least 1
    detach: return at once and let the processes run
    """

    name: str = "local"
    processes: int = 2
    detach: bool = False


@dataclass
class SlurmLauncher:
    """Job arrays of a SLURM cluster; null uses the cluster's default.

    job_name: name in squeue; '' uses the grid's name
    partition, account: the sbatch option of this name
    gpus: GPUs per task, at least 0
    cpus: CPU cores per task, at least 1
    mem_gb: gigabytes of memory per task, above 0
    minutes: time limit per task, at least 1; a task that reaches it is queued again and continues
    parallelism: maximum number of tasks at once, at least 1
    trials_per_task: trials per task, at least 1
    signal_seconds: seconds before the time limit at which a task writes a checkpoint, at least 0
    setup: lines of shell that run before each task, such as 'module load cuda'
    extra: other options of sbatch: +launcher.extra.qos=long
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
    """Group `experiment`: a named grid, and the settings of its report.

    sweep: override -> choices; 'a,b' -> pairs of choices that go together, or {a: choice} for some of these options
    rows: choice of method -> {name: its name in the table, <dataset>: the paper's [mean, half-width]}; also swept
    figure: {kind, ...}, the arguments of `benchmark.analysis.figures.draw`
    notes: footnotes of the table
    claims: {better: method, than: method, by: points, setting: {option: value}}, which the report judges (docs/tables.md)
    """

    name: str = ""
    sweep: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    figure: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    claims: list[Any] = field(default_factory=list)


@dataclass
class RunConfig:
    """The whole configuration. Options that do not change the numbers of a trial are not part of a cell's identity.

    trials: number of trials of each configuration, with the seeds seed, seed + 1, and so on, at least 1
    seed: seed of the first trial, at least 0
    device: auto, cpu, cuda or cuda:N; auto uses cuda if available
    results_dir: directory of records
    checkpoint_dir: directory of unfinished trials and kept artifacts
    checkpoint_seconds: seconds between checkpoints, at least 0
    claim_seconds: seconds without an update of the training process, after which another process takes the trial over, at least 0.1
    data_dir: directory of published data sets, also for downloads
    precision: precision of forward passes, one of float32, bf16; bf16 is another configuration, because its numbers differ
    compile: torch.compile compiles the losses
    channels_last: use the channels-last memory format for weights and activations; null: on CPUs, where it is fastest
    cuda_graphs: capture steps in CUDA graphs, prove and replay them; null: on CUDA
    side_by_side: trials at once on one device, at least 1; null: on CUDA one per 16 GiB of its memory, at most 4; otherwise 1
    resident: images are in memory, on the device; false: they stay in a mapped file, if there is one; null: only large images stay there
    keep: files that trials write to checkpoint_dir, one of weights, evidence, predictions; evidence covers training examples,
        predictions are test logits
    observers: observers of each trial during training: tensorboard, observers of packages, or module:Class
    rerun: one of missing, stale; stale: set records of other data or earlier code aside and train these trials again
    processes: number of training processes without a launcher, at least 1; null: on a CPU one per core, on CUDA this process
    scale: factor of every schedule's steps, in (0, 1]; records store a value below 1, and tables separate them
    """

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
    keep: list[str] = field(default_factory=list)
    observers: list[str] = field(default_factory=list)
    rerun: str = "missing"
    processes: int | None = None
    scale: float = 1.0
    experiment: Experiment = field(default_factory=Experiment)
    launcher: Any = None  # a Launcher, or None for this command


def check(config: RunConfig) -> None:
    """Raise UserError for incompatible options; the docstring of each option gives its own range."""
    if "evidence" in config.keep and find_spec("pyarrow") is None:
        raise UserError("keep=[evidence] writes Parquet files, which needs pyarrow: pip install pyarrow")
    finding.check(config.observers)
    _check_trainer(config.trainer)


def _check_trainer(trainer: TrainerConfig) -> None:
    if trainer.final_share and not trainer.cosine:
        raise UserError(f"trainer.final_share={trainer.final_share:g} needs trainer.cosine=true")
    if trainer.nesterov and (trainer.optimiser != "sgd" or trainer.momentum == 0):
        given = f"trainer.optimiser={trainer.optimiser} with trainer.momentum={trainer.momentum:g}"
        raise UserError(f"trainer.nesterov=true needs trainer.optimiser=sgd with a momentum above 0, not {given}")
    if len(trainer.betas) != 2:
        raise UserError(f"trainer.betas must be two numbers, such as trainer.betas=[0.9,0.999], not {trainer.betas}")


def rescale(config: RunConfig) -> None:
    """Scale every schedule to `scale` of its steps, with the same number of evaluations."""
    if config.scale != 1:
        trainer = config.trainer
        trainer.steps = max(1, round(config.scale * trainer.steps))
        trainer.evaluate_every = max(1, round(config.scale * trainer.evaluate_every))


def preprocessing(config: RunConfig) -> Preprocessing:
    """Return the dataset's preprocessing."""
    return Preprocessing(**config.dataset["preprocessing"])
