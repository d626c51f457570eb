"""Cost as a metric: seconds per step relative to plain training, and peak memory, of every method.

The result is a file that tables and figures join with records by method, model and dataset:

    {"schema": 1, "environment": {...}, "entries": [{"method": "reed", "model": "convnet", "dataset": "digits",
     "relative_seconds": 1.03, "low": 1.01, "high": 1.05, "peak_memory": 312.5}, ...]}

relative_seconds, low and high are the median and quartiles over rounds; peak_memory is in MiB. `python -m benchmark.speed.cost` is one
of the new processes that measure, one after another.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark import trial
from benchmark.config import Cell, cells, determining
from benchmark.names import choices
from benchmark.speed.measure import Effort, Work, interleaved
from benchmark.training.trainer import Trainer
from robust_benchmark.errors import UserError
from robust_benchmark.files import write

SCHEMA = 1
HEADERS = ["method", "model", "dataset", "relative seconds", "quartiles", "peak MiB"]
PLAIN = "baseline"
THREADS = 1
MEMORY_STEPS = 20  # share of the trainer's schedule that every phase uses


def cost(effort: Effort) -> Iterator[list[str]]:
    """Measure seconds per step relative to plain training, and peak memory, by method, in new single-threaded processes; write --output.

    Raises UserError if the file cannot be written, for an unknown method, and if no method can train on the data.
    """
    grid = _grid(effort)
    _check(effort.output)
    entries = list(_entries(grid, effort))
    if not entries:
        raise UserError("no method was measured, for the reasons above")
    measured = {"overrides": determining(effort.overrides), "rounds": effort.rounds, "repeats": effort.repeats}
    environment = trial.environment(effort.device) | {"threads": THREADS} | measured | {"date": datetime.now(UTC).date().isoformat()}
    with _writing(effort.output):
        write(effort.output, json.dumps({"schema": SCHEMA, "environment": environment, "entries": entries}, indent=1) + "\n")
    yield from map(_row, entries)


def _grid(effort: Effort) -> list[Cell]:
    """Return a cell for each method, model and dataset; the methods always include plain training."""
    methods = dict.fromkeys((PLAIN, *(effort.methods or sorted(choices().values()))))
    grid = cells([*effort.overrides, f"method={','.join(methods)}", f"device={effort.device}"])
    names = [tuple(_names(cell).values()) for cell in grid]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--overrides give {' on '.join(name)} more than once: sweep only model and dataset there")
    return grid


def _names(cell: Cell) -> dict[str, str]:
    return {"method": cell.label, "model": cell.identity["model"]["name"], "dataset": cell.identity["dataset"]["name"]}


def _entries(grid: Sequence[Cell], effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield an entry for each cell; a cell that cannot train is skipped with a line on stderr."""
    for cell in grid:
        try:
            ratios = _in_fresh_process("seconds", cell, effort)
            peak = _in_fresh_process("memory", cell, effort)
        except UserError as error:
            print(f"{cell.label} is left out: {error}", file=sys.stderr)
            continue
        low, median, high = (round(float(value), 4) for value in np.percentile(ratios, (25, 50, 75)))
        yield _names(cell) | {"relative_seconds": median, "low": low, "high": high, "peak_memory": round(peak, 1)}


def _row(entry: dict[str, Any]) -> list[str]:
    names = [entry[name] for name in ("method", "model", "dataset")]
    quartiles = f"{entry['low']:.3f} to {entry['high']:.3f}"
    return [*names, f"{entry['relative_seconds']:.3f}", quartiles, f"{entry['peak_memory']:.1f}"]


def _check(path: Path) -> None:
    """Raise UserError if no file can be written to `path`, before minutes of measuring are lost."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _in_fresh_process(what: str, cell: Cell, effort: Effort) -> Any:
    """Return the output of `main`. Raises UserError as `main` does."""
    command = [sys.executable, "-m", __name__, what, str(effort.rounds), str(effort.repeats), *cell.overrides]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode == 2:
        raise UserError(done.stdout.strip())
    done.check_returncode()
    return json.loads(done.stdout)


def main(arguments: Sequence[str]) -> int:
    """Print the measurement as JSON and return 0, or print the sentence of a UserError and return 2; runs in a new process."""
    what, rounds, repeats, *overrides = arguments
    try:
        measured = relative_seconds(overrides, int(rounds), int(repeats)) if what == "seconds" else peak_memory(overrides)
    except UserError as error:
        print(error)
        return 2
    print(json.dumps(measured))
    return 0


def relative_seconds(overrides: Sequence[str], rounds: int, repeats: int) -> list[float]:
    """Return seconds per step of the method that `overrides` choose, relative to plain training: one value per round.

    The trainers of both take turns. A method of several phases goes through them in order, and its ratio is their mean, weighted by the
    steps that the schedule gives them. Each phase starts as in training and is measured after one round of warm-up, early in its
    schedule; later changes of a method are not measured. One-time work before a phase is done but not timed.
    Raises UserError if one of the two cannot train.
    """
    trainer, plain = _trainer(overrides), _trainer([*filter(_is_not_of_method, overrides), f"method={PLAIN}"])
    effort = Effort((), trainer.device, rounds, repeats)
    _, plain_step = next(_phases(plain))
    ratios, steps = [], []
    for count, step in _phases(trainer):
        seconds = interleaved([plain_step, step], effort, settle=0)  # contenders have no workers
        ratios.append(seconds[:, 1] / seconds[:, 0])
        steps.append(count)
    return [float(ratio) for ratio in np.average(ratios, axis=0, weights=steps)]


def _trainer(overrides: Sequence[str]) -> Trainer:
    (cell,) = cells(overrides)
    return trial.prepare(cell, 0)


def _is_not_of_method(override: str) -> bool:
    return re.match(r"method[.=]", override) is None


def _phases(trainer: Trainer) -> Iterator[tuple[int, Work]]:
    """Yield the steps that the schedule gives each phase, and a function that takes one; a phase starts on request."""
    for number, phase in enumerate(trainer.phases):
        trainer.progress.phase = number
        running = trainer.running(phase)
        running.begin(trainer.view)
        yield phase.schedule.steps, partial(running.take_step, trainer.view)


def peak_memory(overrides: Sequence[str]) -> float:
    """Return the peak memory in MiB of a short training of the chosen method, in all its phases, with an evaluation in each.

    On a CPU it is the resident memory of this process since its start (VmHWM, which Linux keeps), Python and its libraries included;
    on CUDA the maximum of tensors. Raises UserError if the method cannot train.
    """
    (cell,) = cells([*overrides, f"trainer.steps={MEMORY_STEPS}"])
    with tempfile.TemporaryDirectory() as directory:  # no checkpoint is loaded or written
        config = replace(cell.config, checkpoint_dir=directory, checkpoint_seconds=math.inf)
        trainer = trial.prepare(replace(cell, config=config), 0)
        trainer.run()
    if trainer.device.type == "cuda":
        return torch.cuda.max_memory_allocated(trainer.device) / 2**20
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kibibytes) / 2**10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
