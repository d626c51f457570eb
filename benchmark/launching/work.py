"""What is sent to another process: which trials, as plain text, and how they are run there."""

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

    grids: overrides, composed there; each trial is a (key, seed) of one of their cells
    gpus: the ones to use, as in CUDA_VISIBLE_DEVICES; None leaves them as they are
    patient: stay until all trials are settled, also those that others train
    """

    grids: tuple[tuple[str, ...], ...]
    trials: tuple[tuple[str, int], ...]
    gpus: str | None = None
    patient: bool = True

    def __call__(self) -> None:
        """Run the trials in a process of submitit's. Ends it with status 1 where one failed.

        Told to stop by SIGUSR2, it leaves a checkpoint and hands the signal on to submitit, which queues the job again.
        """
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # also before there is anything to keep
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus  # before CUDA starts in this process
        grid = {cell.key: cell for overrides in self.grids for cell in cells(overrides)}
        unknown = [key for key, _ in self.trials if key not in grid]
        if unknown:
            raise UserError(f"cell {unknown[0]} is another one now: the checkout changed since it was submitted; submit it again")
        missing = [(grid[key], seed) for key, seed in self.trials]
        with streams.safe():
            failed, stopped_by = worker.train(missing, str(JobEnvironment().paths.stdout), self.patient)
        if stopped_by == signal.SIGUSR2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which comes when SLURM ends what it queues again
            signal.raise_signal(signal.SIGUSR2)
        if stopped_by or failed:
            sys.exit(128 + stopped_by if stopped_by else 1)

    def checkpoint(self) -> DelayedSubmission:
        """The work to queue again; what is done of it is known from records and checkpoints."""
        return DelayedSubmission(self)
