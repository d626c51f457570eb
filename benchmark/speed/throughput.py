"""Whole commands on all cores of a CPU: one process per core compared with one process with the same number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory

from benchmark import ROOT
from benchmark.speed.measure import Effort, Work, compare

JOB = ("method=l2rw,reed", "noise=bgflip")


def throughput(effort: Effort, overrides: Sequence[str] = ()) -> Iterator[list[str]]:
    """Measure the main job by `python -m benchmark.run`, including start and table: one process with a thread per core, and the default.

    overrides: change the job
    """
    cores = len(os.sched_getaffinity(0))
    contenders: dict[str, Work] = {
        f"1 process, {cores} threads": _command([*overrides, "processes=1"], {"OMP_NUM_THREADS": str(cores)}),
        f"{cores} processes, 1 thread each": _command(overrides, {}),
    }
    yield from compare(" ".join((*JOB, *overrides)), contenders, replace(effort, repeats=1))


def _command(overrides: Sequence[str], variables: dict[str, str]) -> Work:
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def work() -> None:
        with TemporaryDirectory() as directory:
            places = [f"results_dir={directory}/results", f"checkpoint_dir={directory}/checkpoints", "device=cpu"]
            command = [sys.executable, "-m", "benchmark.run", *JOB, *places, *overrides]
            subprocess.run(command, cwd=ROOT, env=inherited | variables, capture_output=True, check=True)

    return work
