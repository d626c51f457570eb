"""`robust-benchmark run method=l2rw,reed noise=bgflip`, or `python -m robust_benchmark run ...`: the commands, from any directory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from robust_benchmark import imports
from robust_benchmark.commands import guarded
from robust_benchmark.errors import unknown

COMMANDS = {
    "prepare": ("benchmark.prepare", "download and decode the data of a grid, without training"),
    "run": ("benchmark.run", "train the missing trials of a grid and print its table"),
    "tune": ("benchmark.tune", "tune options of methods with equal budgets, and compare each with its default"),
    "report": ("benchmark.report", "make the table, or a figure, of the records under a directory"),
    "status": ("benchmark.status", "show the progress of grids, also while they train, or cancel submitted grids"),
    "verify": ("benchmark.verify", "train sampled trials again and compare their numbers with their records"),
    "merge": ("benchmark.merge", "copy somebody's records into a results directory, each after its checks"),
    "audit": ("benchmark.audit.__main__", "rank the labels of your own data by how likely they are wrong"),
    "check": ("benchmark.check", "check that methods follow the rules of the interface, including your own"),
    "speed": ("benchmark.speed.__main__", "measure the cost of steps, data and options on this machine"),
}


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit status, or 2 without a valid command."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("--help", "-h"):
        print(_help())
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    imports.put_first()
    return int(importlib.import_module(COMMANDS[name][0]).main(rest))


def _help() -> str:
    lines = [f"  {name:8}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(["usage: robust-benchmark COMMAND ...", "", *lines, "", "robust-benchmark COMMAND --help shows the options of each."])


if __name__ == "__main__":
    sys.exit(main())
