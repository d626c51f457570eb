"""The options of a run, typed: what Hydra's tree in conf/ is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from datasets.augment import Preprocessing
from datasets.task import Split
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError

STAGES = ("main", "early_stopping", "finetune", "clean_only")


@dataclass
class Stage:
    """A schedule relative to the trainer's.

    share: its steps, as a share of the trainer's, above 0
    lr: its learning rate, at least 0; null is the trainer's
    decay_at: where the learning rate falls, as shares of the trainer's steps, in [0, 1]
    """

    share: float = 1.0
    lr: float | None = None
    decay_at: list[float] = field(default_factory=list)


@dataclass
class TrainerConfig:
    """Group `trainer`. One number, `steps`, scales every schedule.

    steps: of the main schedule, which every other one is a share of, at least 1
    batch_size: examples a step, at least 1
    lr: the initial learning rate, at least 0
    momentum: of sgd, in [0, 1]
    weight_decay: on the weights of convolutions and linear layers, at least 0
    decay_factor: what the learning rate is multiplied by at each decay, at least 0
    optimiser: of what a method trains by default, one of sgd, adam, adamw
    nesterov: sgd looks ahead along its momentum
    betas: two decays, of adam and adamw, in [0, 1)
    clip_norm: the largest Euclidean norm of all gradients together, at least 0; 0 is no clipping
    ema: decay at each step of averaged parameters, which evaluations use, in [0, 1); 0 is no averages
    cosine: every schedule falls along half a cosine to final_share of its learning rate, instead of at its decays
    final_share: the share of the learning rate at a cosine's end, in [0, 1]
    warm_up: the share of each schedule's steps along which its learning rate rises to its full value, in [0, 1]
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

    processes: how many, at least 1
    detach: return at once and let them run
    """

    name: str = "local"
    processes: int = 2
    detach: bool = False


@dataclass
class SlurmLauncher:
    """Job arrays of a SLURM cluster; null leaves a choice to the cluster.

    job_name: as squeue shows it; '' is the grid's
    partition, account: as sbatch takes them
    gpus: of one task, at least 0
    cpus: of one task, at least 1
    mem_gb: gigabytes of memory of one task, above 0
    minutes: of one task, at least 1; one that reaches this limit is queued again and goes on
    parallelism: tasks at once, at least 1
    trials_per_task: trials that a task trains, at least 1
    signal_seconds: this long before its end, a task is asked to write a checkpoint, at least 0
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
    """The whole configuration. What does not change the numbers of a trial stands outside a cell's identity.

    trials: of each configuration, with the seeds seed, seed + 1, and so on, at least 1
    seed: of the first trial, at least 0
    device: auto, cpu, cuda or cuda:N; auto is cuda where there is one
    results_dir: where records are written
    checkpoint_dir: where unfinished trials and kept artifacts lie
    checkpoint_seconds: from one checkpoint to the next, at least 0
    claim_seconds: after this silence of the process that trains a trial, another one takes it over, at least 0.1
    data_dir: where published data sets are kept, or downloaded to
    precision: of forward passes, one of float32, bf16; bf16 is another configuration, as its numbers differ
    compile: losses go through torch.compile
    channels_last: memory format of weights and activations; null: on CPUs, where it is fastest
    cuda_graphs: steps are captured, proved and replayed; null: on CUDA
    side_by_side: trials at once on one device, at least 1; null: on CUDA one for each 16 GiB of its memory, 4 at the most; else 1
    resident: images lie in memory, on the device; false: they stay in a mapped file, where there is one; null: where they are large
    keep: what trials leave in checkpoint_dir, one of weights, evidence, predictions; evidence is on training examples, predictions are
        test logits
    rerun: one of missing, stale; stale: records of other data or of an earlier version of the code are set aside and train again
    processes: that train at once without a launcher, at least 1; null: on a CPU one for each core, on CUDA this process
    scale: of every schedule's steps, in (0, 1]; records below 1 say so, and tables keep them apart
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
    rerun: str = "missing"
    processes: int | None = None
    scale: float = 1.0
    experiment: Experiment = field(default_factory=Experiment)
    launcher: Any = None  # a Launcher, or None for this command


def check(config: RunConfig) -> None:
    """Raises UserError for options that do not go together; each by itself is what its docstring allows."""
    if "evidence" in config.keep and find_spec("pyarrow") is None:
        raise UserError("keep=[evidence] writes Parquet files, which needs pyarrow: pip install pyarrow")
    _check_trainer(config.trainer)


def _check_trainer(trainer: TrainerConfig) -> None:
    if trainer.final_share and not trainer.cosine:
        raise UserError(f"trainer.final_share={trainer.final_share:g} is of a cosine, and needs trainer.cosine=true")
    if trainer.nesterov and (trainer.optimiser != "sgd" or trainer.momentum == 0):
        given = f"trainer.optimiser={trainer.optimiser} with trainer.momentum={trainer.momentum:g}"
        raise UserError(f"trainer.nesterov=true needs trainer.optimiser=sgd with a momentum above 0, not {given}")
    if len(trainer.betas) != 2:
        raise UserError(f"trainer.betas must be two numbers, such as trainer.betas=[0.9,0.999], not {trainer.betas}")


def rescale(config: RunConfig) -> None:
    """Every schedule at `scale` of its steps, evaluated as often in all."""
    if config.scale != 1:
        trainer = config.trainer
        trainer.steps = max(1, round(config.scale * trainer.steps))
        trainer.evaluate_every = max(1, round(config.scale * trainer.evaluate_every))


def preprocessing(config: RunConfig) -> Preprocessing:
    """The dataset's preprocessing."""
    return Preprocessing(**config.dataset["preprocessing"])
