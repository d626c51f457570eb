"""`python -m benchmark.status`: what becomes of grids that were sent elsewhere, cell by cell; with --cancel, their end.

Does not import torch, except to compose a grid that is given by its overrides.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from benchmark.launching import jobs
from benchmark.launching.look import KINDS, State, look
from benchmark.records import grids
from benchmark.records.grids import Grid, GridCell, TrialId
from benchmark.records.store import read_record
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, 1 where a trial failed, 2 for the user's mistake."""
    parser = argparse.ArgumentParser(prog=command("status"), description="What becomes of grids that were sent elsewhere.")
    parser.add_argument("grid", nargs="*", help="a grid by its name, or by the overrides given to benchmark.run; all where none is given")
    parser.add_argument("--checkpoint-dir", default=".checkpoints", help="where grids given by name are kept (default .checkpoints)")
    parser.add_argument("--cancel", action="store_true", help="end the jobs of the grid; finished trials and checkpoints stay")
    given = parser.parse_intermixed_args(arguments)
    if given.cancel and not given.grid:
        raise UserError("--cancel needs a grid: its name, or its overrides")
    found = _grids(given.grid, given.checkpoint_dir)
    if given.cancel:
        print(f"{jobs.cancel(each for grid in found for each in grid.submissions)} tasks cancelled")
    return _status(found)


def _grids(given: Sequence[str], checkpoint_dir: str) -> list[Grid]:
    if any("=" in each for each in given):
        from benchmark.config import cells
        from benchmark.launching.launch import grid_of

        return [grid_of(cells(given))]
    names: Sequence[str | None] = list(given) or [None]
    found = [grid for name in names for grid in grids.find(checkpoint_dir, name)]
    if not found:
        raise UserError(f"no grid was sent elsewhere from {checkpoint_dir}")
    return found


def _status(found: Sequence[Grid]) -> int:
    known = _known(found)
    counts: Counter[str] = Counter()
    for grid in found:
        states = _checked(grid, look(grid, known))
        count = Counter(state.kind for state in states.values())
        print(f"grid {grid.name}: {len(grid.cells)} cells, {len(states)} trials: {_counted(count)} (in {grid.results_dir})")
        if len(found) == 1 or count["done"] < len(states):
            for cell in grid.cells:
                _show(cell, states)
        counts += count
    return 1 if counts["failed"] else 0


def _known(found: Sequence[Grid]) -> dict[str, str]:
    try:
        return jobs.states([each for grid in found for each in grid.submissions])
    except UserError as error:
        print(f"what follows is from files alone, as SLURM does not answer: {error}", file=sys.stderr)
        return {}


def _checked(grid: Grid, states: dict[TrialId, State]) -> dict[TrialId, State]:
    """The states, of which a record that is not in order makes a failed one."""
    checked = dict(states)
    for cell in grid.cells:
        for seed in cell.seeds:
            if states[cell.key, seed].kind == "done":
                try:
                    read_record(grid.record(cell, seed), whole=False)
                except UserError as error:
                    checked[cell.key, seed] = State("failed", str(error))
    return checked


def _show(cell: GridCell, states: dict[TrialId, State]) -> None:
    """A line for the cell, and one for each of its trials that runs or did not go well."""
    mine = {seed: states[cell.key, seed] for seed in cell.seeds}
    print(f"  {cell.label}  {cell.folder}: {_counted(Counter(state.kind for state in mine.values()))}")
    for seed, state in mine.items():
        if state.kind == "running":
            left = f", {_duration(state.seconds)} left" if state.seconds is not None else ""
            print(f"    seed {seed} running: step {state.step} of {cell.steps}{left}; {state.text}")
        elif state.kind in ("failed", "preempted"):
            print(f"    seed {seed} {state.kind}: {state.text}{f' (see {state.log})' if state.log else ''}")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def _duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> _duration(3725.4)
    '1 h 2 min'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


if __name__ == "__main__":
    sys.exit(main())
