"""`python -m benchmark.report results/`: the table, or a picture, of the records under a directory; or of one experiment among them.

Does not import torch, except to compose the grid of an experiment.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.records.store import Record, read_all
from robust_benchmark.errors import UserError, unknown
from robust_benchmark.imports import command

MANY = 8  # missing cells told by name


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 where a record was unreadable, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(prog=command("report"), description="The table, or a picture, of the records under a directory.")
    parser.add_argument("results", type=Path, help="directory of records, searched with its folders")
    parser.add_argument("overrides", nargs="*", help="experiment=NAME and further options of it, as given to benchmark.run")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="only these methods, by their names in the table")
    parser.add_argument("--format", default="text", choices=("text", "markdown", "latex", "csv"))
    parser.add_argument("--output", type=Path, help="file to write the table to instead of printing it")
    parser.add_argument("--figure", type=Path, help="file to draw the figure in, .png or .pdf, or without either for both")
    parser.add_argument("--kind", help="training (the default), against, confusion, weights; an experiment has its own")
    parser.add_argument("--x", help="with kind against, the x axis: an option such as noise.rate or split.clean_per_class")
    parser.add_argument("--y", nargs="+", help="metrics: test_accuracy (the default), test_error, weights_auroc, weights_precision, ...")
    given = parser.parse_intermixed_args(arguments)
    try:
        return _report(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _report(given: argparse.Namespace) -> int:
    records, errors = read_all(given.results, whole=given.figure is not None)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not records:
        raise UserError(f"no records under {given.results}")
    try:
        if given.overrides:
            _experiment(given, records)
        else:
            _all(given, _of_methods(records, given.methods))
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
    return 1 if errors else 0


def _all(given: argparse.Namespace, records: list[Record]) -> None:
    from benchmark.analysis import tables  # pandas and SciPy take a second to import

    table = "".join(tables.render(records, given.format, metric) for metric in given.y or ["test_accuracy"])
    _write(given, records, table, {})


def _experiment(given: argparse.Namespace, records: list[Record]) -> None:
    """The experiment's own table and figure, of its own records; what is missing is told with the command that fills it."""
    from benchmark.analysis import experiment as analysis
    from benchmark.analysis import tables
    from benchmark.config import cells

    grid = cells(given.overrides)
    experiment = grid[0].config.experiment
    if len({cell.config.experiment.name for cell in grid}) > 1 or not experiment.name:
        raise UserError(f"give experiment=NAME among the options, one alone; see {command('run')} --help")
    wanted = [analysis.Wanted(cell.choice, cell.identity, cell.key, cell.config.trials) for cell in grid]
    found = analysis.find(wanted, records)
    if not any(each.records for each in found):
        raise UserError(f"{given.results} has no records of {experiment.name}; to make them: {_command(given)}")
    shown = _of_methods(analysis.named(found, experiment.rows), given.methods)
    if given.methods is not None:
        keys = {record["key"] for record in shown}
        found = [each for each in found if any(record["key"] in keys for record in each.records)]
    if given.y is None:
        table = analysis.render(found, experiment.rows, experiment.notes, given.format)
    else:
        table = "".join(tables.render(shown, given.format, metric) for metric in given.y)
    _write(given, shown, table, experiment.figure)
    missing = analysis.missing(found, experiment.rows)
    if missing:
        names = ", ".join(missing[:MANY]) + (f" and {len(missing) - MANY} more" if len(missing) > MANY else "")
        print(f"{len(missing)} of {len(found)} cells lack trials: {names}\nto fill them: {_command(given)}", file=sys.stderr)


def _command(given: argparse.Namespace) -> str:
    return f"{command('run')} {shlex.join([*given.overrides, f'results_dir={given.results}'])}"


def _write(given: argparse.Namespace, records: list[Record], table: str, figure: Mapping[str, Any]) -> None:
    """The figure where one is asked for, and the table where it is wanted."""
    if given.figure is not None:
        from benchmark.analysis import figures

        asked = {"kind": given.kind, "x": given.x, "y": given.y}
        options = {**figure, **{name: value for name, value in asked.items() if value is not None}}
        if given.x is not None and given.kind is None:
            options["kind"] = "against"
        figures.draw(records, given.figure, **options)
    if given.output is not None:
        given.output.write_text(table, encoding="utf-8")
    elif given.figure is None:
        print(table, end="")


def _of_methods(records: list[Record], methods: list[str] | None) -> list[Record]:
    """Records of the methods asked for, all for None; raises UserError, with the nearest name, for one that has no record."""
    names = {record["method"] for record in records}
    for method in methods or ():
        if method not in names:
            raise unknown("method in these records", method, names)
    return [record for record in records if methods is None or record["method"] in methods]


if __name__ == "__main__":
    gc.disable()  # many records without a cycle among them: looking for one would take a fifth of the time
    sys.exit(main())
