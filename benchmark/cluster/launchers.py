"""Group `launcher`: where trials run when not in this very process. The options, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    signal_seconds: so long before its end a task is told to write a checkpoint
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
