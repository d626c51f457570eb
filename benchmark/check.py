"""`python -m benchmark.check method=mine`: checks whether methods follow the rules of the interface, and prints a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from benchmark.checks.observed import Subject
from benchmark.checks.rules import CHECKS, Finding, examine
from benchmark.checks.small import SMALL
from benchmark.checks.waits import waits
from benchmark.config import Cell, cells
from benchmark.names import choices
from benchmark.records.failures import last_line
from benchmark.speed.cost import relative_seconds
from benchmark.training.threads import CPU, one_thread
from methods import registry
from methods.base import Knowledge
from robust_benchmark.commands import guarded
from robust_benchmark.errors import ContractError, UserError, explained
from robust_benchmark.imports import command

DATA = {"noise": "uniflip", "dataset.preprocessing.pad": 1}  # defaults: wrong labels, and images with different views
ROUNDS, REPEATS = 7, 5  # rounds of measuring the cost


@dataclass(frozen=True)
class Report:
    """The results for one method.

    needs: None if no check can start
    refusals: by the kind of data, the method's error for data that it rejects
    waits: places where a step would make the host wait for a GPU; None if it does not train
    cost: seconds per step relative to plain training, the median over rounds; None if it is not measured
    """

    cell: Cell
    needs: Knowledge | None
    findings: dict[str, Finding]
    refusals: dict[str, str]
    waits: list[str] | None
    cost: float | None

    @property
    def failures(self) -> list[str]:
        """A sentence for each failed check."""
        return [f"{self.cell.label}, {name}: {found.sentence}" for name, found in self.findings.items() if found.state == "failed"]


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a check failed, 2 for a user's mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog=command("check"),
        description="Checks that methods follow the rules of the interface, on small tasks, and prints a table. Overrides are those of "
        f"`{command('run')}`; without a method, all are checked.",
    )
    parser.add_argument("overrides", nargs="*", metavar="override", help="such as method=mine,reed or model=lenet")
    parser.add_argument("--no-cost", action="store_true", help="do not measure the cost of a step")
    given = parser.parse_intermixed_args(arguments)
    reports = [_report(cell, not given.no_cost) for cell in small_cells(given.overrides)]
    print(text(reports))
    return 1 if any(report.failures for report in reports) else 0


def small_cells(overrides: Sequence[str]) -> list[Cell]:
    """Return the grid of `overrides`, with small trainings, and of all methods unless some are given. Raises UserError."""
    given = {override.partition("=")[0] for override in overrides}
    defaults = {"method": ",".join(sorted(choices().values())), **DATA, **SMALL, "trials": 1, "device": "cpu"}
    grid = cells([*(f"{name}={value}" for name, value in defaults.items() if name not in given), *overrides])
    if grid[0].config.device != "cpu":
        raise UserError(f"device must be cpu, not {grid[0].config.device}: only on a CPU do numbers repeat bit for bit")
    return grid


def report(cell: Cell, costs: bool = False) -> Report:
    """Return the results for the method of a cell of `small_cells`. Raises UserError if the data is not available."""
    with one_thread(CPU):
        subject = Subject(cell)
        findings = examine(subject)
        trains = findings["trains"].state == "ok"
        return Report(
            cell,
            registry.build(cell.identity["method"]).needs,
            findings,
            subject.refusals if trains else {},
            waits(subject.trainer(subject.kind)) if trains else None,
            _cost(cell) if trains and costs else None,
        )


def _report(cell: Cell, costs: bool) -> Report:
    print(f"checking {cell.label}", file=sys.stderr)
    try:
        return report(cell, costs)
    except (Exception, SystemExit) as error:  # a method so broken that no check can start; the others are still checked
        if isinstance(error, UserError) and not isinstance(error, ContractError):
            raise
        print(explained(error), file=sys.stderr)
        failed = Finding("failed", last_line(error))
        return Report(cell, None, dict.fromkeys(CHECKS, Finding("-")) | {"trains": failed}, {}, None, None)


def _cost(cell: Cell) -> float:
    """Measure at the trainer's own batch size."""
    small = {f"{name}={value}" for name, value in SMALL.items()}
    return float(np.median(relative_seconds([override for override in cell.overrides if override not in small], ROUNDS, REPEATS)))


def text(reports: Sequence[Report]) -> str:
    """Return a Markdown table with a row for each method, followed by failures and rejections."""
    headers = ["method", "sees", *CHECKS, "waits for a GPU", "cost"]
    table = tabulate([_row(report) for report in reports], headers, tablefmt="github", disable_numparse=True)
    failures = [f"- {failure}" for report in reports for failure in report.failures]
    return "\n".join([table, *([""] if failures else []), *failures])


def _row(report: Report) -> list[str]:
    sees = ["?"] if report.needs is None else ["noisy labels", *(need.replace("_", " ") for need in report.needs.names())]
    states = {name: found.state for name, found in report.findings.items()}
    states["data"] += "".join(f"; refuses {kind}: {sentence}" for kind, sentence in report.refusals.items())
    waiting = "-" if report.waits is None else ", ".join(report.waits) or "none"
    cost = "-" if report.cost is None else f"{report.cost:.2f}"
    return [report.cell.label, " + ".join(sees), *states.values(), waiting, cost]


if __name__ == "__main__":
    sys.exit(main())
