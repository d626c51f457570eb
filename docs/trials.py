"""The shipped trials behind the tables of the documentation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import ROOT
from benchmark.analysis.rows import sees
from benchmark.analysis.selection import value
from benchmark.analysis.settings import flatten, leaves_of
from benchmark.analysis.statistics import estimate
from benchmark.config import Cell, cells
from benchmark.metrics import metric
from benchmark.records.store import Record, read_all

Options = Mapping[str, Any]


class Trials:
    """The shipped trials of an experiment's methods under settings, which have names and options.

    methods: separated by spaces, in the order of a table; '' for all of the experiment's
    overrides: more overrides of the experiment
    """

    def __init__(self, experiment: str, settings: Mapping[str, Options], methods: str = "", *overrides: str) -> None:
        grid = composed([f"experiment={experiment}", *([f"method={','.join(methods.split())}"] if methods else []), *overrides])
        self.methods = methods.split() or [*dict.fromkeys(cell.choice for cell in grid)]
        self._found: dict[tuple[str, str], list[Record]] = {}
        options = leaves_of({cell.key: cell.identity for cell in grid})
        for cell in grid:
            for name, wanted in settings.items():
                if cell.key in _records() and wanted.items() <= options[cell.key].items():
                    self._found[cell.choice, name] = _records()[cell.key]

    @property
    def fewest(self) -> int:
        """The smallest number of trials of a cell."""
        return min(map(len, self._found.values()))

    def sees(self, method: str) -> str:
        """The information that the method uses."""
        return next(sees(trials[0]) for (name, _), trials in self._found.items() if name == method)

    def options(self, method: str, setting: str) -> Options:
        """The options of the method's trials under a setting; none without trials."""
        return flatten(trials[0]["config"]) if (trials := self._found.get((method, setting))) else {}

    def means(self, method: str, of: str = "test_accuracy", select: str = "last") -> dict[str, float]:
        """The mean of the metric under each setting that has trials, in the metric's unit."""
        found = {setting: trials for (name, setting), trials in self._found.items() if name == method}
        return {setting: estimate([value(trial, metric(of), select) for trial in trials]).mean for setting, trials in found.items()}


def composed(overrides: Sequence[str]) -> list[Cell]:
    """The grid of these overrides, composed once in a process, because many tables and figures are about the same one."""
    return _composed(tuple(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> list[Cell]:
    return cells(overrides)


@functools.cache
def _records() -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in read_all(ROOT / "results" / "reference")[0]:
        found.setdefault(record["key"], []).append(record)
    return found
