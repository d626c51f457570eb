"""The grids of a page: their missing trials, the command that trains them, and the paper's numbers beside ours."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from benchmark.analysis import experiment as analysis
from benchmark.analysis.cells import Number
from benchmark.analysis.settings import Words, text_of, words_of
from benchmark.grid import Grid
from benchmark.overrides import written
from benchmark.page.again import method_overrides, setting_overrides
from benchmark.records.store import Record, results_dir_of
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command


class Lacking(NamedTuple):
    """A cell with fewer trials than others of its setting. command: trains the missing ones, or a comment with the error"""

    method: str
    setting: str
    seeds: list[int]
    command: str


def words_of_grid(text: str) -> list[str]:
    """The overrides in a text, as a shell splits them. Raises UserError for a quote that is not closed.

    >>> words_of_grid("method=reed 'noise.background=[0, 1]'")
    ['method=reed', 'noise.background=[0, 1]']
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"--grid {text} cannot be split into overrides: {str(error).lower()}") from error


def missing(grid: Grid) -> list[str]:
    """The cells of the grid that lack trials at full scale, with their numbers of trials."""
    table = analysis.comparison(grid.found, grid.experiment.rows).itertuples()
    return [_named(row) for row, each in zip(table, grid.found, strict=True) if each.lacks_trials]


def compared(grid: Grid) -> list[list[str]]:
    """Lines of setting, method, paper, ours, trials, difference and verdict; empty if the paper has no numbers."""
    table = analysis.comparison(grid.found, grid.experiment.rows)
    return [_texts(row) for row in table.itertuples(index=False)] if table["paper"].notna().any() else []


def _named(row: Any) -> str:
    return f"{row.method}, {row.setting}: " + ("not run" if row.verdict == "not run" else f"{row.trials} trials")


def _texts(row: Any) -> list[str]:
    paper = Number(row.paper.mean, row.paper.half_width).number if row.paper else ""
    ours = Number(row.ours.mean, row.ours.half_width).number if row.ours.trials else ""
    return [row.setting, row.method, paper, ours, row.trials, "" if pd.isna(row.difference) else f"{row.difference:+.2f}", row.verdict]


def lacking(found: Sequence[Sequence[Record]], without: Collection[str] = ()) -> list[Lacking]:
    """The cells that lack a seed that another method has in the same setting. without: keys of cells to skip"""
    settings = words_of([cell[0]["config"] for cell in found])
    seeds: dict[Words, set[int]] = {}
    for setting, cell in zip(settings, found, strict=True):
        seeds.setdefault(setting, set()).update(trial["seed"] for trial in cell)
    missing = [
        (cell, setting, sorted(seeds[setting] - {trial["seed"] for trial in cell}))
        for setting, cell in zip(settings, found, strict=True)
        if cell[0]["key"] not in without
    ]
    return [Lacking(cell[0]["method"], text_of(setting), gone, _commands(cell[0], gone)) for cell, setting, gone in missing if gone]


def _commands(record: Record, seeds: Sequence[int]) -> str:
    """The commands that train these seeds into the results directory of the record, a line for each range of seeds."""
    root = written(results_dir_of(record))
    try:
        overrides = [*method_overrides(record["config"]["method"]), *setting_overrides(record["config"])]
    except UserError as error:
        return f"# {error}"
    lines = ([*overrides, f"seed={first}", f"trials={count}", f"results_dir={root}"] for first, count in _runs(seeds))
    return "\n".join(f"{command('run')} {shlex.join(line)}" for line in lines)


def _runs(seeds: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first number and the length of each sequence of consecutive numbers.

    >>> list(_runs([0, 1, 5]))
    [(0, 2), (5, 1)]
    """
    for _, run in itertools.groupby(enumerate(seeds), lambda each: each[1] - each[0]):
        numbers = [seed for _, seed in run]
        yield numbers[0], len(numbers)
