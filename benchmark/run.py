"""`python -m benchmark.run method=l2rw,reed noise=bgflip`: train the missing trials of a grid, and print its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import torch

from benchmark import trial, workers
from benchmark.config import Cell, cells
from benchmark.folders import twins
from benchmark.options import SlurmLauncher
from benchmark.progress import name
from benchmark.recorded import check_data, recorded, set_stale_aside
from benchmark.records import failures
from benchmark.records.claims import remove_left
from benchmark.records.grids import TrialId
from benchmark.records.store import Record
from benchmark.training.threads import CPU, one_thread
from benchmark.trial import Trial
from benchmark.worker import forget_failures
from methods import registry
from robust_benchmark.commands import guarded
from robust_benchmark.errors import ContractError, UserError, explained
from robust_benchmark.imports import command


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a trial failed, 2 for a user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog=command("run"), add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--cfg", choices=("job",))
    given = parser.parse_intermixed_args(arguments)  # options may appear among the overrides, as with Hydra
    if given.help or given.cfg or not given.overrides:
        print(_explanation(given), end="")
        return 0
    return _run(cells(given.overrides), given.overrides)


def _explanation(given: argparse.Namespace) -> str:
    """Return the text to print instead of training."""
    from benchmark import explain  # which training does not need

    if given.cfg and not given.help:
        return "---\n".join(explain.commented(cell) for cell in cells(given.overrides))
    return f"{explain.text(given.overrides) if given.help else explain.usage()}\n"


def complete(grid: Sequence[Cell], overrides: Sequence[str]) -> tuple[dict[TrialId, Record], list[str], int]:
    """Train the missing trials of the grid of `overrides`.

    Returns the existing records, a line for each failure, and the signal that stopped it or 0. Raises UserError.
    """
    config = grid[0].config
    for warning in _warnings():
        print(f"warning: {warning}", file=sys.stderr)
    elsewhere = isinstance(config.launcher, SlurmLauncher)  # a cluster's data and devices may not be visible here
    trials = [(cell, seed) for cell in grid for seed in cell.seeds]
    remove_left({trial.path(cell, cell.config.seed).parent for cell in grid})
    done = recorded(trials, set_aside=config.rerun == "stale")
    with one_thread(_device(config.device)):
        if config.rerun == "stale":
            _check_writable(grid[0])
            if not elsewhere:
                trial.device_of(config.device)  # the data and code that train these trials again are available
            done = set_stale_aside(trials, done)
        elif not elsewhere:
            check_data(trials, done)
        missing = [(cell, seed) for cell, seed in trials if (cell.key, seed) not in done]
        missing.sort(key=lambda each: each[1])  # trial by trial, so that an interrupted grid still compares methods
        failed, stopped_by = _train(grid, missing, overrides) if missing else ([], 0)
    return done | recorded(missing), failed, stopped_by


def _warnings() -> list[str]:
    """Return a sentence for each skipped choice of a plug-in."""
    return [*registry.problems(), *twins()]


def _device(name: str) -> torch.device:
    """Return the device of that name; the CPU if it does not exist, because any machine can show a finished grid."""
    try:
        return trial.device_of(name)
    except UserError:
        return CPU


def _run(grid: Sequence[Cell], overrides: Sequence[str]) -> int:
    done, failed, stopped_by = complete(grid, overrides)
    if done:
        from benchmark.analysis.tables import render  # imports SciPy, which training does not need

        print(f"\n{render(list(done.values()))}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    trials = sum(len(cell.seeds) for cell in grid)
    print(f"{len(done)} of {trials} trials are in {grid[0].config.results_dir}" + (f"; {len(failed)} failed" if failed else ""))
    if stopped_by:
        raise KeyboardInterrupt
    return 1 if failed else 0


def _train(grid: Sequence[Cell], missing: Sequence[Trial], overrides: Sequence[str]) -> tuple[list[str], int]:
    """Train here, or with the launcher; return a line for each failure, and the signal that stopped it or 0."""
    launcher = grid[0].config.launcher
    _check_writable(grid[0])
    if launcher is None:
        forget_failures(missing)
    able, refused = _prepared(missing, isinstance(launcher, SlurmLauncher))
    if not able:
        return refused, 0
    if launcher is None:
        failed, stopped_by = workers.train(able)
    else:
        from benchmark.launching.launch import launch  # imports submitit, which training here does not need

        failed, stopped_by = launch(grid, able, overrides)
    return [*refused, *failed], stopped_by


def _prepared(missing: Sequence[Trial], elsewhere: bool) -> tuple[list[Trial], list[str]]:
    """Return the trials that can train, and a line for each other one, which gets a note with the reason.

    elsewhere: data and device are not visible, so only the method is tested
    Raises UserError if no trial can train, and none of the reasons is a mistake in a plug-in's code.
    """
    reasons: dict[str, BaseException] = {}
    for cell in {cell.key: cell for cell, _ in missing}.values():
        try:
            trial.steps(cell) if elsewhere else trial.prepare(cell, cell.seeds[0])
        except trial.FAILURES as error:
            reasons[cell.key] = error
    refused = [(cell, seed) for cell, seed in missing if cell.key in reasons]
    if len(refused) == len(missing) and not any(_of_plugin(error) for error in reasons.values()):
        raise UserError("; ".join(dict.fromkeys(map(str, reasons.values()))))
    for cell in {cell.key: cell for cell, _ in refused}.values():
        print(f"{cell.label} cannot train: {explained(reasons[cell.key])}", file=sys.stderr)
    able = [(cell, seed) for cell, seed in missing if cell.key not in reasons]
    return able, [_noted(cell, seed, reasons[cell.key]) for cell, seed in refused]


def _of_plugin(error: BaseException) -> bool:
    """Return whether the error comes from a plug-in's own code, and is not a user's mistake."""
    return isinstance(error, ContractError) or not isinstance(error, UserError)


def _noted(cell: Cell, seed: int, error: BaseException) -> str:
    """Note that the trial failed; return the line that reports it."""
    note = trial.path(cell, seed).with_suffix(".failure")
    failures.note(note, error)
    return f"{name(cell, seed)}: {failures.last_line(error)} (see {note})"


def _check_writable(cell: Cell) -> None:
    """Raise UserError before hours of training rather than after."""
    for directory in (cell.config.results_dir, cell.config.checkpoint_dir):
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=directory):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {directory}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
