"""A grid with its records, for a table, a figure or a page. This module imports torch, like all composition."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.analysis import experiment as analysis
from benchmark.config import Cell, cells
from benchmark.options import Experiment
from benchmark.overrides import written
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command

Compose = Callable[[Sequence[str]], list[Cell]]


class Grid(NamedTuple):
    """A grid with its records. found: those of each cell; command: trains the missing trials"""

    title: str
    command: str
    cells: list[Cell]
    found: list[analysis.Found]

    @property
    def experiment(self) -> Experiment:
        """The experiment of the grid; its name is '' if there is none."""
        return self.cells[0].config.experiment

    @property
    def records(self) -> list[Record]:
        """The records of all cells, by the names of the experiment's rows."""
        return analysis.named(self.found, self.experiment.rows)

    @property
    def keys(self) -> set[str]:
        """The keys of its cells."""
        return {cell.key for cell in self.cells}


def grid_of(overrides: Sequence[str], records: Sequence[Record], results: str | os.PathLike[str], compose: Compose | None = None) -> Grid:
    """The grid of these overrides with its records.

    results: the directory of new records if the grid has none; compose: benchmark.config.cells, or a function that caches its results
    Raises UserError for invalid overrides and for several experiments.
    """
    composed = (compose or cells)(overrides)
    experiment = composed[0].config.experiment
    if len({cell.config.experiment.name for cell in composed}) > 1:
        raise UserError(f"give a single experiment=NAME, not '{shlex.join(overrides)}'")
    found = analysis.find([analysis.Wanted(each.choice, each.identity, each.key, each.config.trials) for each in composed], records)
    root = analysis.root(found) if any(each.records for each in found) else os.fspath(results)
    fill = f"{command('run')} {shlex.join([*overrides, f'results_dir={written(root)}'])}"
    return Grid(experiment.name or shlex.join(overrides), fill, composed, found)
