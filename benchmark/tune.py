"""`python -m benchmark.tune method=elr,gce,l2rw noise=uniflip tune.budget=20`: tune methods with equal budgets, and print a table.

Each method tries the same number of configurations, its default among them. Noisy validation labels choose one, which then trains with
fresh seeds, and so does the default. Trials are ordinary records, so the same command continues an interrupted search.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.config import Cell, cells
from benchmark.folders import SPACES, files
from benchmark.options import LocalLauncher
from benchmark.overrides import option_of
from benchmark.records.grids import TrialId
from benchmark.records.store import Record
from benchmark.run import complete
from benchmark.signatures import options_of
from benchmark.tuning.options import PREFIX, TuneOptions, split
from benchmark.tuning.spaces import space_of
from benchmark.tuning.study import CHOSEN_BY, Study, check_optuna
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command


class Failed(Exception):
    """Trials of the search failed. lines: one for each of them"""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a trial failed, 2 for a user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog=command("tune"), add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--help", "-h", action="store_true")
    given = parser.parse_intermixed_args(arguments)
    if given.help or not given.overrides:
        print(_help())
        return 0
    if given.figure:
        from benchmark.analysis.figures.sensitivity import check_path  # before hours of training

        check_path(given.figure)
    try:
        _tune(given.overrides, given.figure)
    except Failed as error:
        for line in error.lines:
            print(f"failed: {line}", file=sys.stderr)
        print("the search is not complete; the same command tries these trials again")
        return 1
    return 0


def _help() -> str:
    lines = [f"  {PREFIX}{name}={option.default}  {option.meaning}" for name, option in options_of(TuneOptions).items()]
    run = command("run")
    return "\n".join(
        [
            "Tunes the options of methods with equal budgets, and compares each with its default on fresh seeds.",
            "",
            f"  {command('tune')} method=elr,gce noise=uniflip tune.budget=20 [--figure sensitivity.png]",
            "",
            *lines,
            "",
            f"All other options are those of {run} ({run} --help). Methods with a search space:",
            f"  {', '.join(sorted(file.path.stem for file in files(SPACES)))}",
        ]
    )


def _tune(overrides: Sequence[str], figure: Path | None) -> None:
    studies = studies_of(overrides)
    records = search(studies)
    finals = _trained([cell for study in studies for cell in study.finals()])
    for study in studies:
        print(f"search described in {study.write()}", file=sys.stderr)
    print(f"\n{_table(studies, finals)}")
    if figure:
        from benchmark.analysis.figures import sensitivity  # imports matplotlib

        tried = [[records[each.cell.key, study.seed] for each in study.tried] for study in studies]
        searches = [sensitivity.Searched(study.default.choice, of) for study, of in zip(studies, tried, strict=True)]
        sensitivity.draw(searches, figure, CHOSEN_BY)


def studies_of(overrides: Sequence[str]) -> list[Study]:
    """Return a study for each cell of the grid of `overrides`. Raises UserError for whatever would stop a search later."""
    check_optuna()
    options, others = split(overrides)
    if any(option_of(override) == "trials" for override in others):
        raise UserError("a search trains one trial of each configuration: give tune.trials=3 instead of trials for the final trials")
    grid = cells(others)
    _check(grid[0])
    for cell in grid:
        if not cell.config.split.hyper_validation:
            raise UserError(
                f"tuning chooses by noisy validation labels, and {cell.label} on {cell.config.dataset['name']} has none"
                " (split.hyper_validation=0): give split.hyper_validation=100"
            )
    return [Study(cell, space_of(cell), options) for cell in grid]


def _check(cell: Cell) -> None:
    """Raise UserError for a launcher that cannot train the rounds of a search."""
    launcher = cell.config.launcher
    if isinstance(launcher, LocalLauncher):
        raise UserError("benchmark.tune trains in its own processes or with launcher=slurm, not with launcher=local: give processes=2")
    if launcher and launcher.detach:
        raise UserError("benchmark.tune waits for results, so launcher.detach must be false")


def search(studies: Sequence[Study]) -> dict[TrialId, Record]:
    """Spend the budget of all studies, round by round; return the records. Raises Failed, KeyboardInterrupt and UserError."""
    found: dict[TrialId, Record] = {}
    while asked := [(study, cells) for study in studies if (cells := study.ask())]:
        found |= _trained([cell for _, cells in asked for cell in cells])
        for study, _ in asked:
            study.tell(found)
    return found


def _trained(grid: Iterable[Cell]) -> dict[TrialId, Record]:
    """Train the missing trials of these cells, each once; return all their records."""
    distinct = list({(cell.key, cell.seeds): cell for cell in grid}.values())
    records, failed, stopped_by = complete(distinct, [])
    if stopped_by:
        raise KeyboardInterrupt
    if failed:
        raise Failed(failed)
    return records


def _table(studies: Sequence[Study], finals: dict[TrialId, Record]) -> str:
    from benchmark.analysis.tuning import Tuned, render  # imports SciPy, which training does not need

    rows = []
    for study in studies:
        default, chosen = ([finals[cell.key, seed] for seed in cell.seeds] for cell in study.finals())
        rows.append(Tuned(study.default.choice, default, chosen, study.chosen.options))
    options = studies[0].options
    return render(rows, options.budget, options.sampler)


if __name__ == "__main__":
    sys.exit(main())
