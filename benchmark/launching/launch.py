"""Submission of a grid, and its progress until all trials end."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmark import trial
from benchmark.config import Cell
from benchmark.launching import jobs, submit
from benchmark.launching.look import State, States, look
from benchmark.options import Launcher, LocalLauncher, SlurmLauncher
from benchmark.progress import Bar, name
from benchmark.records import grids, store
from benchmark.records.claims import Observer
from benchmark.records.grids import Grid, GridCell
from benchmark.signals import stopping_on_signals
from benchmark.trial import Trial
from benchmark.worker import forget_failures
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command

ASK_SECONDS = 15.0  # between two queries of SLURM; records and claims are read more often
END_SECONDS = 60.0  # for a process to write its checkpoint


def launch(cells: Sequence[Cell], missing: Sequence[Trial], overrides: Sequence[str]) -> tuple[list[str], int]:
    """Submit the missing trials that no task has yet. Wait for all missing trials unless the launcher detaches.

    Returns a line for each failed trial, and the signal that ended the wait, or 0. Raises UserError if the launcher cannot start.
    """
    launcher: Launcher = cells[0].config.launcher
    grid = grid_of(cells)
    grid.write()
    known = jobs.states(grid.submissions)
    failed = {each for each, state in look(grid, known).items() if state.kind == "failed"}
    taken = {each for task in grid.tasks() if known.get(task.id) in jobs.RUNNING | jobs.QUEUED for each in task.trials}
    wanted = [(cell.key, seed) for cell, seed in missing]
    new = [each for each in wanted if each in failed or each not in taken]
    forget_failures(missing)
    if new and isinstance(launcher, LocalLauncher):
        submit.to_processes(grid, launcher, cells[0].config.device, overrides, new)
    elif new and isinstance(launcher, SlurmLauncher):
        submit.to_slurm(grid, launcher, cells, new)
    earlier = f", {len(wanted) - len(new)} already submitted" if len(new) < len(wanted) else ""
    submitted = f"grid {grid.name}: {len(new)} trials submitted{earlier}"
    print(f"{submitted}; to see or end it: {command('status')} {grid.name} [--cancel]", file=sys.stderr)
    return ([], 0) if launcher.detach else _follow(grid, missing, launcher)


def grid_of(cells: Sequence[Cell]) -> Grid:
    """The grid of these cells, with its earlier submissions."""
    config = cells[0].config
    folders = [store.Store("").path(cell.identity, cell.key, 0).parent for cell in cells]
    described = [
        GridCell(cell.key, cell.label, str(folder), list(cell.seeds), trial.steps(cell), options)
        for cell, folder, options in zip(cells, folders, _own_options(cells), strict=True)
    ]
    return grids.open_grid(described, config.results_dir, config.checkpoint_dir, config.claim_seconds)


def _own_options(cells: Sequence[Cell]) -> list[list[str]]:
    """For each cell, the overrides that some other cell lacks, without those in its label and folder."""
    count = Counter(override for cell in cells for override in set(cell.overrides))
    named = ("method=", "method.", "dataset=", "noise=")
    return [[each for each in cell.overrides if count[each] < len(cells) and not each.startswith(named)] for cell in cells]


def _follow(grid: Grid, missing: Sequence[Trial], launcher: Launcher) -> tuple[list[str], int]:
    """Show progress until every trial is settled.

    Ctrl-C ends processes of this machine, with checkpoints. SLURM's jobs continue. If the terminal closes, processes continue too.
    """
    names = {(cell.key, seed): name(cell, seed) for cell, seed in missing}
    mine: States = {}
    with Bar(missing) as bar, stopping_on_signals(bar):
        for states in _looks(grid, 0.0 if isinstance(launcher, LocalLauncher) else ASK_SECONDS):
            before, mine = mine, {each: states[each] for each in names}
            for number, (each, state) in enumerate(mine.items()):
                bar.reach(number, state.step)
                if state.kind in ("done", "failed") and before.get(each, State("")).kind != state.kind:
                    bar.write(f"{names[each]}: {state.kind} {state.text}")
            if bar.stopping() or not any(state.live for state in mine.values()):
                break
    if bar.stopped_by not in (0, signal.SIGHUP) and isinstance(launcher, LocalLauncher):
        _end(grid)
    return [f"{names[each]}: {state.text} (see {state.log})" for each, state in mine.items() if state.kind == "failed"], bar.stopped_by


def _looks(grid: Grid, ask_seconds: float) -> Iterator[States]:
    """Yield the states repeatedly, with at most a tenth of the time spent on it, and query SLURM every `ask_seconds`."""
    observer, asked = Observer(), -ask_seconds
    known = {task.id: "PENDING" for task in grid.tasks()}  # until SLURM answers
    while True:
        began = time.monotonic()
        if began - asked >= ask_seconds:
            asked = began
            with contextlib.suppress(UserError):  # SLURM may not answer for a while
                known = jobs.states(grid.submissions)
        yield look(grid, known, observer)
        time.sleep(max(1.0, 9 * (time.monotonic() - began)))


def _end(grid: Grid) -> None:
    """Stop the processes and wait for their checkpoints."""
    jobs.cancel(grid.submissions)
    began = time.monotonic()
    while "RUNNING" in jobs.states(grid.submissions).values() and time.monotonic() - began < END_SECONDS:
        time.sleep(0.2)
