"""`python -m benchmark.status`: the progress of grids, cell by cell. --watch shows it continuously, and --cancel ends the jobs.

This module imports torch only to compose a grid that the user gives as overrides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmark.launching import jobs
from benchmark.launching.look import Looker
from benchmark.overview import Row, counted, described, duration, overview, percent
from benchmark.records import grids
from benchmark.records.grids import Grid
from benchmark.watch import watch
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError, in_range
from robust_benchmark.imports import command
from robust_benchmark.words import number_of


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 if a trial failed, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog=command("status"), description="Shows the progress of grids.")
    parser.add_argument(
        "grid",
        nargs="*",
        help="names of submitted grids, or overrides as given to benchmark.run (default all submitted grids)",
    )
    parser.add_argument("--checkpoint-dir", default=".checkpoints", help="directory of submitted grids (default .checkpoints)")
    parser.add_argument("--watch", action="store_true", help="show the progress until all trials end; Ctrl-C ends the view")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="interval between updates of --watch (default 2)")
    parser.add_argument("--cancel", action="store_true", help="end the jobs of the grid; finished trials and checkpoints stay")
    given = parser.parse_intermixed_args(arguments)
    if given.cancel and not given.grid:
        raise UserError("--cancel needs a grid, by its name or its overrides")
    in_range("--every", given.every, 0.1, 86_400)
    found = _grids(given.grid, given.checkpoint_dir)
    if given.cancel:
        print(f"{jobs.cancel(each for grid in found for each in grid.submissions)} tasks cancelled")
    return watch(found, given.every) if given.watch else _status(found)


def _grids(given: Sequence[str], checkpoint_dir: str) -> list[Grid]:
    if any("=" in each for each in given):
        from benchmark.config import cells
        from benchmark.launching.launch import grid_of

        return [grid_of(cells(given))]
    names: Sequence[str | None] = list(given) or [None]
    found = [grid for name in names for grid in grids.find(checkpoint_dir, name)]
    if not found:
        raise UserError(f"{checkpoint_dir} has no submitted grid; to see a grid that benchmark.run trains, give its overrides")
    return found


def _status(found: Sequence[Grid]) -> int:
    known = _known(found)
    failed = False
    for grid in found:
        shown = overview(grid, Looker(grid).look(known))
        counts = shown.counts
        size = f"{number_of(len(grid.cells), 'cell')}, {number_of(counts.total(), 'trial')}"
        print(f"grid {grid.name}: {size}: {counted(counts)} (in {grid.results_dir})")
        if len(found) == 1 or counts["done"] < counts.total():
            rows = {row.cell.key: row for row in shown.rows}
            for cell in grid.cells:
                _show(rows[cell.key])
        failed = failed or counts["failed"] > 0
    return 1 if failed else 0


def _known(found: Sequence[Grid]) -> dict[str, str]:
    try:
        return jobs.states([each for grid in found for each in grid.submissions])
    except UserError as error:
        print(f"SLURM does not answer, so the states below come from files only: {error}", file=sys.stderr)
        return {}


def _show(row: Row) -> None:
    """Print a line for the cell, and one for each trial that runs, failed or was preempted."""
    print(f"  {' '.join([row.cell.label, *row.cell.options])}  {row.cell.folder}: {counted(row.counts)}")
    for seed, state in row.states.items():
        if state.kind == "running":
            left = f", {duration(state.seconds)} left" if state.seconds is not None else ""
            accuracy = f", test accuracy {percent(state.accuracy)}" if state.accuracy is not None else ""
            print(f"    seed {seed} running: step {state.step} of {row.cell.steps}{accuracy}{left}; {state.text}")
        elif state.kind in ("failed", "preempted"):
            print(f"    seed {seed} {described(state)}")


if __name__ == "__main__":
    sys.exit(main())
