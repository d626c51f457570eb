"""Submission of trials by submitit, to processes of this machine or to SLURM."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import TypeVar

import torch
from submitit import Job, LocalExecutor, SlurmExecutor
from submitit.core.utils import FailedJobError, environment_variables

from benchmark.config import Cell
from benchmark.launching import jobs
from benchmark.launching.work import Work
from benchmark.options import LocalLauncher, SlurmLauncher
from benchmark.records.grids import Assignment, Grid, Submission, TrialId
from benchmark.signals import out_of_reach_of_the_terminal
from robust_benchmark.errors import UserError

YEAR = 366 * 24 * 60  # minutes; submitit also needs a limit for processes of this machine
RESTARTS = 1000  # the largest number of restarts of a task at its time limit
Item = TypeVar("Item")


def to_processes(grid: Grid, launcher: LocalLauncher, device: str, overrides: Sequence[str], missing: Sequence[TrialId]) -> None:
    """Start the processes. Each one goes through all trials and takes those without a claim."""
    executor = LocalExecutor(grid.directory / "local")
    executor.update_parameters(timeout_min=YEAR, stderr_to_stdout=True)
    shares = gpus(device)
    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    with environment_variables(OMP_NUM_THREADS=threads), out_of_reach_of_the_terminal():
        works = [Work((tuple(overrides),), tuple(missing), shares[n % len(shares)]) for n in range(launcher.processes)]
        started = [executor.submit(work) for work in works]
    grid.add(_submission("local", started, [list(missing)] * len(started)))


def to_slurm(grid: Grid, launcher: SlurmLauncher, cells: Sequence[Cell], missing: Sequence[TrialId]) -> None:
    """Submit the smallest number of job arrays that the cluster's limit allows. A task has `trials_per_task` trials.

    Raises UserError if SLURM refuses.
    """
    by_key = {cell.key: cell for cell in cells}
    tasks = _pieces(missing, launcher.trials_per_task)
    arrays = _pieces(tasks, jobs.array_limit())
    executor = _slurm_executor(grid, launcher, len(arrays))
    for array in arrays:
        works = [Work(tuple({by_key[key].overrides: None for key, _ in task}), tuple(task), patient=False) for task in array]
        try:
            grid.add(_submission("slurm", executor.submit_array(works), array))
        except FailedJobError as error:
            raise UserError(f"SLURM refuses the grid: {str(error).strip().splitlines()[-1]}") from error


def _slurm_executor(grid: Grid, launcher: SlurmLauncher, arrays: int) -> SlurmExecutor:
    if "%" in str(grid.directory):
        raise UserError(f"checkpoint_dir {grid.checkpoint_dir} contains '%', which SLURM replaces in the names of logs")
    for value in (grid.directory, launcher.job_name, launcher.partition, launcher.account, *launcher.extra, *launcher.extra.values()):
        if not str(value).isprintable():
            raise UserError(f"{value!r} contains a control character, which options of a job cannot have")
    try:
        executor = SlurmExecutor(grid.directory / "slurm", max_num_timeout=RESTARTS)
    except RuntimeError as error:
        raise UserError("launcher=slurm needs SLURM's commands (sbatch, srun), which this machine does not have") from error
    asked = {"partition": launcher.partition, "account": launcher.account, "gpus_per_node": launcher.gpus or None}
    executor.update_parameters(
        job_name=launcher.job_name or f"benchmark-{grid.name}",
        time=launcher.minutes,
        mem=f"{round(1024 * launcher.mem_gb)}MB",
        cpus_per_task=launcher.cpus,
        signal_delay_s=launcher.signal_seconds,
        array_parallelism=max(1, launcher.parallelism // arrays),
        setup=list(launcher.setup),
        stderr_to_stdout=True,
        additional_parameters={"requeue": True, **launcher.extra},
        **{name: value for name, value in asked.items() if value is not None},
    )
    return executor


def _pieces(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


def _submission(launcher: str, started: Sequence[Job], trials: Sequence[Sequence[TrialId]]) -> Submission:
    tasks = [Assignment(job.job_id, str(job.paths.stdout), list(part)) for job, part in zip(started, trials, strict=True)]
    return Submission(launcher, socket.gethostname(), time.time(), tasks)


def gpus(device: str) -> list[str]:
    """CUDA_VISIBLE_DEVICES for the processes in turn: one GPU each, unless `device` names one; '' on a CPU."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    if device == "cpu" or not visible:
        return [""]
    return visible if device in ("auto", "cuda") else [",".join(visible)]
