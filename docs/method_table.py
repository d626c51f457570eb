"""`python -m docs.method_table`: writes the tables of methods in docs/choosing.md, from the code, the records and the measured cost.

A new method needs no change here. Its year is the first one after "Source:" in its docstring.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

from tabulate import tabulate

import robust_benchmark
from benchmark import ROOT
from benchmark.analysis.cost import read_costs
from benchmark.analysis.statistics import estimate
from benchmark.check import small_cells
from benchmark.checks.observed import Subject
from benchmark.config import Cell, cells
from benchmark.folders import lines_of
from benchmark.models.classifier import Classifier
from benchmark.training.threads import CPU, one_thread
from methods import registry

PAGE = ROOT / "docs" / "choosing.md"
EXPERIMENTS = {"digits": "digits", "digits_modern": "digits, cropped"}  # by the choice of experiment=, the name of their columns
NOISES = ("bgflip", "uniflip")
HEADERS = ["method", "sees", "networks", "numbers per example", "cost", "year"]
PART = re.compile(r"(?<=<!-- begin: (\w{7}) -->\n).*?(?=<!-- end -->)", re.DOTALL)

Accuracies = Mapping[tuple[str, str, str], str]  # by experiment, noise and method


def main() -> None:
    """Write the page."""
    with one_thread(CPU):
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def updated(page: str) -> str:
    """The page with its tables made again."""
    grid = {cell.label: cell for cell in small_cells([])}
    accuracies = dict(_accuracies())
    tables = {
        "methods": [_row(cell, accuracies) for cell in grid.values() if not registry.wraps(_name(cell))],
        "wrapper": [_row(cell, accuracies) for cell in grid.values() if registry.wraps(_name(cell))],
        "meaning": [[f"`{choice}`", line] for choice, line in sorted(lines_of("method").items())],
    }
    return PART.sub(lambda part: f"\n{_table(part[1], tables[part[1]])}\n\n", page)


def _table(kind: str, rows: list[list[str]]) -> str:
    if kind == "meaning":
        return tabulate(rows, ["method", "what it is"], tablefmt="github")
    headers = [*HEADERS, *(f"{name}: {noise}" for name in EXPERIMENTS.values() for noise in NOISES)]
    return tabulate(sorted(rows, key=lambda row: (row[1], row[5], row[0])), headers, tablefmt="github", disable_numparse=True)


def _name(cell: Cell) -> str:
    return str(cell.identity["method"]["name"])


def _row(cell: Cell, accuracies: Accuracies) -> list[str]:
    method = registry.build(cell.identity["method"])
    sees = " + ".join(["noisy labels", *(need.replace("_", " ") for need in method.needs.names())])
    shown = [accuracies.get((experiment, noise, cell.label), "") for experiment in EXPERIMENTS for noise in NOISES]
    return [f"`{cell.label}`", sees, *_parts(cell), _cost(cell), _year(_name(cell)), *shown]


def _parts(cell: Cell) -> tuple[str, str]:
    """How many classifiers train, and how many numbers are kept for each training example."""
    subject = Subject(cell)
    kind = subject.kind
    method, n = subject.trainer(kind).method, len(kind.task.train)
    trained = [each for each in method.modules() if isinstance(each, Classifier) and any(p.requires_grad for p in each.parameters())]
    kept = sum(buffer.numel() // n for buffer in method.buffers() if n in buffer.shape)
    return str(len(trained)), str(kept or "")


def _cost(cell: Cell) -> str:
    entries = read_costs(ROOT / "results" / "cost.json").entries
    found = [entry.relative_seconds for entry in entries if (entry.method, entry.dataset) == (cell.label, "digits")]
    return f"{found[0]:.1f}" if found and found[0] else ""


def _year(name: str) -> str:
    source = re.search(r"Source:.*?\b((?:19|20)\d\d)\b", inspect.getdoc(registry.get(name)) or "", re.DOTALL)
    return source[1] if source else ""


def _accuracies() -> Iterator[tuple[tuple[str, str, str], str]]:
    """Mean test accuracy of the last step over the trials of each shipped record of the experiments' cells."""
    for experiment in EXPERIMENTS:
        trials = robust_benchmark.load(ROOT / "results" / "reference" / experiment)
        wanted = {cell.key for cell in cells([f"experiment={experiment}"])}
        for (method, noise), group in trials[trials["key"].isin(wanted)].groupby(["method", "noise"]):
            yield (experiment, str(noise), str(method)), f"{100 * estimate(group['test_accuracy'].tolist()).mean:.1f}"


if __name__ == "__main__":
    main()
