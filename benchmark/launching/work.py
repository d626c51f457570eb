"""Trials for another process as plain text, and the code that runs them there."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

from submitit import JobEnvironment
from submitit.helpers import DelayedSubmission

from benchmark import worker
from benchmark.config import cells
from robust_benchmark import streams
from robust_benchmark.errors import UserError


@dataclass(frozen=True)
class Work:
    """Trials for one process.

    grids: overrides, which the process composes; each trial is a (key, seed) of one of their cells
    gpus: value of CUDA_VISIBLE_DEVICES; None keeps the present value
    patient: whether to wait for trials that other processes train
    """

    grids: tuple[tuple[str, ...], ...]
    trials: tuple[tuple[str, int], ...]
    gpus: str | None = None
    patient: bool = True

    def __call__(self) -> None:
        """Run the trials in a process of submitit. The process ends with status 1 if a trial failed.

        After SIGUSR2, it writes a checkpoint and passes the signal on to submitit, which queues the job again.
        """
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # also before training starts
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus  # before CUDA starts in this process
        grid = {cell.key: cell for overrides in self.grids for cell in cells(overrides)}
        unknown = [key for key, _ in self.trials if key not in grid]
        if unknown:
            raise UserError(f"the checkout no longer has cell {unknown[0]}, because it changed after the submission; submit the grid again")
        missing = [(grid[key], seed) for key, seed in self.trials]
        with streams.safe():
            failed, stopped_by = worker.train(missing, str(JobEnvironment().paths.stdout), self.patient)
        if stopped_by == signal.SIGUSR2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM sends it to a job that it queues again
            signal.raise_signal(signal.SIGUSR2)
        if stopped_by or failed:
            sys.exit(128 + stopped_by if stopped_by else 1)

    def checkpoint(self) -> DelayedSubmission:
        """The work for the requeued job. Records and checkpoints show its finished part."""
        return DelayedSubmission(self)
