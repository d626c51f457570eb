"""The cost of a run before its first training step."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import numpy as np

from benchmark import ROOT
from benchmark.speed.measure import Effort

HEADERS = ["start", "ratio to bare", "quartiles", "seconds", "ratio of CPU", "CPU seconds"]
END = "\nimport os, time\nprint('', time.process_time(), file=sys.stderr)\nos._exit(0)"
BARE = "import sys, torch\nfrom sklearn.datasets import load_digits\nload_digits()" + END
WHOLE = "import sys\nfrom benchmark import run\nrun.main(sys.argv[1:])" + END
FIRST_STEP = f"""
import sys
from benchmark import run
from benchmark.training.running import Running
take_step = Running.take_step
def first_step(*arguments):
    take_step(*arguments)
    {END.replace(chr(10), "; ").removeprefix("; ")}
Running.take_step = first_step
run.main(sys.argv[1:])
"""
STARTS = {
    "bare: import torch, load the digits": BARE,
    "benchmark.run, to its first training step": FIRST_STEP,
    "benchmark.run of one step, to the end": WHOLE,
}


def startup(effort: Effort) -> Iterator[list[str]]:
    """Compare the start of a run, to its first training step and to its end, with the minimum work."""
    every_round = [[_seconds(code) for code in STARTS.values()] for _ in range(effort.rounds + 1)]
    measured = np.array(every_round[1:])  # the first one fills the disk cache
    ratios = measured / measured[:, :1]  # (rounds, starts, 2)
    for column, start in enumerate(STARTS):
        low, median, high = np.percentile(ratios[:, column, 0], (25, 50, 75))
        (seconds, cpu), cpu_ratio = np.median(measured[:, column], axis=0), np.median(ratios[:, column, 1])
        yield [start, f"{median:.2f}", f"{low:.2f} to {high:.2f}", f"{seconds:.2f}", f"{cpu_ratio:.2f}", f"{cpu:.2f}"]


def _seconds(code: str) -> tuple[float, float]:
    """Return seconds of a new process without trained trials: wall-clock time and CPU time."""
    with TemporaryDirectory() as directory:
        options = ["trials=1", "trainer.steps=1", f"results_dir={directory}/results", f"checkpoint_dir={directory}/checkpoints"]
        command = [sys.executable, "-c", code, *options]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        return time.perf_counter() - began, float(done.stderr.split()[-1])
